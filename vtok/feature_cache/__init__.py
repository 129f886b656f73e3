"""Feature maps that are computed once, with `vtok precompute`, and trained from, with `data.cache`."""

from typing import TYPE_CHECKING

from vtok.common.lazy import lazy_exports

if TYPE_CHECKING:
    from vtok.feature_cache.attach import backbone_of_cache, check_clips, without_cache

__all__ = ["backbone_of_cache", "check_clips", "without_cache"]

__getattr__, __dir__ = lazy_exports(__name__)
