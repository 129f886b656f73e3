"""Randomly damaged caches: each is refused with a UserError or gives features."""

import json
import random
from pathlib import Path

import pytest
import torch

from vtok.common.errors import UserError
from vtok.data import CachedReader, Clip, SampleKey
from vtok.data.cache_blocks import LEVELS, MAPS, SECONDS, SHARPNESS, Picture, block_path
from vtok.data.cached_reader import read_cache_file
from vtok.data.file_identity import identify
from vtok.data.plan import StridePlanner
from vtok.data.playback import Window
from vtok.feature_cache.blocks import CachedFootage, write_block

MADE = {
    "settings": {"seed": 0, "version": 2},
    "weights": {"backbone.weights": {"name": "a", "revision": None, "files": {}}},
    "dtype": "float32",
    "attention": False,
    "backbone": {
        "feature_dim": 8,
        "image_size": 64,
        "stride": 8,
        "num_parameters": 5,
        "depth": None,
        "map_size": None,
    },
    "digest": "abc",
    "blocks": 1,
}


@pytest.fixture
def clip(tmp_path: Path) -> Clip:
    (tmp_path / "a.mp4").write_bytes(b"a video")
    return Clip(id="a", path=tmp_path / "a.mp4")


@pytest.fixture
def cache(tmp_path: Path, clip: Clip) -> Path:
    """A cache of one clip."""
    (tmp_path / "cache" / "blocks").mkdir(parents=True)
    (tmp_path / "cache" / "cache.json").write_text(json.dumps(MADE))
    tensors = {
        SECONDS: torch.arange(3.0),
        MAPS: torch.ones(3, 8, 8, 8),
        SHARPNESS: torch.ones(3),
        LEVELS: torch.ones(3, dtype=torch.int64),
    }
    pictures = (Picture(0), Picture(2), Picture(2, Window(0.0, 0.5, 0.5), zoom=2.0))
    footage = CachedFootage(identify(clip), None, 3, pictures, tensors)
    write_block(block_path(tmp_path / "cache", clip, 1), {"a\n0.0 None": footage})
    return tmp_path / "cache"


def read(cache: Path, clip: Clip) -> torch.Tensor:
    reader = CachedReader(cache, StridePlanner(2))
    reader.check([clip], files=True)
    sample = reader.read(clip, SampleKey(0, 0))
    assert sample.maps is not None
    return sample.maps.maps


def test_a_damaged_cache_is_refused_or_gives_features(cache: Path, clip: Clip, request: pytest.FixtureRequest) -> None:
    assert torch.equal(read(cache, clip), torch.ones(2, 8, 8, 8))
    files = [cache / "cache.json", block_path(cache, clip, 1)]
    whole = [file.read_bytes() for file in files]
    refused = 0
    for seed in range(request.config.getoption("--fuzz") // 3):
        chooser = random.Random(seed)
        which = chooser.randrange(2)
        broken = bytearray(whole[which])
        at = chooser.randrange(len(broken))
        if chooser.random() < 0.3:
            del broken[at:]
        elif chooser.random() < 0.5:
            del broken[at : at + chooser.randrange(1, 40)]
        else:
            broken[at] = chooser.randrange(256)
        files[which].write_bytes(broken)
        try:
            read(cache, clip)
        except UserError:
            refused += 1
        files[which].write_bytes(whole[which])
    assert refused


@pytest.mark.parametrize(
    "changed",
    [
        {"blocks": 0},
        {"blocks": "1"},
        {"settings": []},
        {"backbone": {"feature_dim": 8}},
        {"backbone": {**MADE["backbone"], "typo": 1}},
        {"weights": {"backbone.weights": {"name": "a", "revision": None, "files": {"a": 1}}}},
        {"digest": None},
    ],
)
def test_invalid_cache_files_are_refused(changed: dict, cache: Path) -> None:
    assert read_cache_file(cache, setting="data.cache=x") == MADE
    (cache / "cache.json").write_text(json.dumps({**MADE, **changed}))
    with pytest.raises(UserError, match=r"^data\.cache=x: its cache\.json is damaged\. .*vtok precompute"):
        read_cache_file(cache, setting="data.cache=x")
