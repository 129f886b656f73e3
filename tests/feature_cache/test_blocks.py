"""Blocks of a feature cache: what is added to a footage."""

import torch

from vtok.data.cache_blocks import MAPS, SECONDS, SHARPNESS, TARGET, Picture
from vtok.feature_cache.blocks import CachedFootage


def cached(tensors: dict[str, torch.Tensor], *frames: int) -> CachedFootage:
    pictures = tuple(Picture(frame, None) for frame in frames)
    return CachedFootage(None, None, 4, pictures, {SECONDS: torch.arange(4.0), **tensors})


def pictures(*frames: int) -> dict[str, torch.Tensor]:
    return {MAPS: torch.tensor(frames), SHARPNESS: torch.tensor(frames).float()}


def test_a_new_target_of_cached_pictures() -> None:
    first = cached({f"{TARGET}a": torch.zeros(1), **pictures(0, 2)}, 0, 2)
    more = first.with_more(cached({f"{TARGET}b": torch.ones(1)}))
    assert more.targets == {f"{TARGET}a", f"{TARGET}b"}
    assert more.pictures == first.pictures
    assert more.tensors[MAPS].tolist() == [0, 2]
    assert first.with_more(cached(pictures(1), 1)).tensors[SHARPNESS].tolist() == [0, 2, 1]
