"""Clips in tar shards: the source, and how shards and their index are made."""

from vtok.data.shards.source import ShardData

__all__ = ["ShardData"]
