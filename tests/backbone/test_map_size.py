"""Feature maps that are averaged to `map_size`, against PyTorch's average pooling of the network's own map."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from transformers import CLIPVisionConfig, CLIPVisionModel

from vtok.backbone import Backbone, ClipBackbone, TinyBackbone, Vgg19Backbone, VisionBackbone
from vtok.common.errors import UserError

SIZES = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 24,
    "patch_size": 4,
}
# Each has a map of 6 places a side.
KINDS: dict[str, Callable[[Path, int | None], Backbone]] = {
    "tiny": lambda folder, size: TinyBackbone(width=8, image_size=48, frozen=True, map_size=size),
    "vgg19": lambda folder, size: Vgg19Backbone(weights=None, layer="pool1", image_size=12, map_size=size),
    "clip": lambda folder, size: ClipBackbone(folder, map_size=size),
    "vision": lambda folder, size: VisionBackbone(folder, image_size=None, map_size=size),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small CLIP with random weights."""
    path = tmp_path_factory.mktemp("clip")
    torch.manual_seed(0)
    CLIPVisionModel(CLIPVisionConfig(**SIZES)).save_pretrained(path)
    (path / "preprocessor_config.json").write_text('{"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}')
    return path


@pytest.mark.parametrize("size", [2, 4, 6])
@pytest.mark.parametrize("kind", KINDS)
def test_maps_and_attention_are_averaged(kind: str, size: int, folder: Path) -> None:
    own, smaller = (torch.manual_seed(0) and KINDS[kind](folder, each) for each in (None, size))
    assert (own.feature_size, smaller.feature_size, smaller.own_map_size) == (6, size, 6)
    frames = torch.rand(2, 3, 48, 48)
    maps, attention = own.attend(frames)
    torch.testing.assert_close(smaller(frames), F.adaptive_avg_pool2d(own(frames), size))
    found = smaller.attend(frames)
    torch.testing.assert_close(found[0], F.adaptive_avg_pool2d(maps, size))
    torch.testing.assert_close(found[1], F.adaptive_avg_pool2d(attention, size))


@pytest.mark.parametrize("size", [0, 7])
def test_a_size_beyond_the_networks_is_refused(size: int, folder: Path) -> None:
    for make in KINDS.values():
        with pytest.raises(
            UserError, match=rf"backbone\.map_size={size}: .* has 6 places a side\. Use 1 to 6, or null"
        ):
            make(folder, size)


def test_the_shape_is_known_before_weights_are_loaded() -> None:
    for kind, more in ((TinyBackbone, {"feature_dim": 96}), (Vgg19Backbone, {"layer": "conv4_4"})):
        shape = kind.feature_shape({"image_size": 64, "map_size": 3, **more})
        assert shape is not None
        assert shape.size == 3
    for other in (ClipBackbone, VisionBackbone):
        shape = other.feature_shape({"weights": None, "image_size": 336, "layer": -1, "map_size": 5})
        assert shape is not None
        assert shape.size == 5
