"""Clips in tar shards: the data set, and the tools that write shards and their index."""

from typing import TYPE_CHECKING

from vtok.common.lazy import lazy_exports

if TYPE_CHECKING:
    from vtok.data.sources.shards.source import ShardData

__all__ = ["ShardData"]

__getattr__, __dir__ = lazy_exports(__name__)
