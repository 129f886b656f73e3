"""Clips in tar shards: the source, and how shards and their index are made."""

from typing import TYPE_CHECKING

from vtok.common.lazy import lazy_exports

if TYPE_CHECKING:
    from vtok.data.sources.shards.source import ShardData

__all__ = ["ShardData"]

__getattr__, __dir__ = lazy_exports(__name__)
