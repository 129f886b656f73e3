"""Pooled features, computed once and trained from: `vtok precompute`, and `data.cache` after it."""

from vtok.feature_cache.opening import backbone_of_cache, check_clips, without_cache

__all__ = ["backbone_of_cache", "check_clips", "without_cache"]
