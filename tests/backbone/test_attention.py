"""The attention that places receive, against transformers' own attention matrices and a formula written out."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    CLIPVisionConfig,
    CLIPVisionModel,
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel,
    DINOv3ViTConfig,
    DINOv3ViTModel,
    SiglipVisionConfig,
    SiglipVisionModel,
    ViTConfig,
    ViTModel,
)

from vtok.backbone import Backbone, ClipBackbone, TinyBackbone, VisionBackbone
from vtok.backbone.attention import recorded_attention
from vtok.common.errors import UserError

SIZES = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "image_size": 24,
    "patch_size": 6,
}
CONFIGS = {
    CLIPVisionModel: CLIPVisionConfig(**SIZES),
    Dinov2WithRegistersModel: Dinov2WithRegistersConfig(**SIZES, num_register_tokens=3),
    DINOv3ViTModel: DINOv3ViTConfig(**SIZES, num_register_tokens=2),
    ViTModel: ViTConfig(**SIZES),
    SiglipVisionModel: SiglipVisionConfig(**SIZES),
}
# Tokens before the patches; without them there is no class token.
LEADING = {CLIPVisionModel: 1, Dinov2WithRegistersModel: 4, DINOv3ViTModel: 3, ViTModel: 1, SiglipVisionModel: 0}


def saved(kind: Any, folder: Path) -> Any:
    torch.manual_seed(0)
    model = kind(CONFIGS[kind])
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text('{"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}')
    return kind.from_pretrained(folder, attn_implementation="eager").eval()


def expected(model: Any, images: torch.Tensor, layer: int, leading: int) -> torch.Tensor:
    with torch.no_grad():
        weights = model(images, output_attentions=True).attentions[layer].mean(1)
    rows = weights[:, 0] if leading else weights.mean(1)
    return rows[:, leading:].view(-1, 4, 4)


@pytest.mark.parametrize(("layer", "place"), [(-1, -1), (-2, -2), (1, 0)])
@pytest.mark.parametrize("kind", CONFIGS)
def test_it_is_that_of_the_layer_below_the_feature_map(kind: Any, layer: int, place: int, tmp_path: Path) -> None:
    model = saved(kind, tmp_path)
    frames = torch.rand(2, 3, 24, 24)
    backbone = VisionBackbone(weights=str(tmp_path), layer=layer, image_size=None)
    maps, attention = backbone.attend(frames)
    normalised = (frames - 0.5) / 0.5
    torch.testing.assert_close(attention, expected(model, normalised, place, LEADING[kind]), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(maps, backbone(frames), rtol=1e-4, atol=1e-5)


def test_clip_has_the_attention_of_its_class_token(tmp_path: Path) -> None:
    model = saved(CLIPVisionModel, tmp_path)
    frames = torch.rand(2, 3, 24, 24)
    backbone = ClipBackbone(weights=str(tmp_path), layer=-2)
    maps, attention = backbone.attend(frames)
    normalised = (frames - backbone.mean) / backbone.std
    torch.testing.assert_close(attention, expected(model, normalised, -2, 1), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(maps, backbone(frames), rtol=1e-4, atol=1e-5)
    assert backbone.vision_model.config._attn_implementation == "sdpa"
    assert backbone.vision_model.encoder.layers[-1].self_attn.config._attn_implementation == "sdpa"


def by_hand(maps: torch.Tensor) -> torch.Tensor:
    """Every pair of places, one after the other."""
    number, channels, height, width = maps.shape
    received = torch.zeros(number, height * width)
    for image in range(number):
        places = maps[image].flatten(1).T
        for query in places:
            scores = torch.tensor([float(query @ key) / channels**0.5 for key in places])
            received[image] += (scores.exp() / scores.exp().sum()) / len(places)
    return received.view(number, height, width)


@pytest.mark.parametrize("backbone", ["tiny", "clip without layers"])
def test_without_attention_layers_it_is_that_of_the_features(backbone: str, tmp_path: Path) -> None:
    made: Backbone = TinyBackbone(feature_dim=8, width=8, image_size=32)
    if backbone != "tiny":
        saved(CLIPVisionModel, tmp_path)
        made = ClipBackbone(weights=str(tmp_path), layer=0)
    with torch.no_grad():
        maps, attention = made.attend(torch.rand(2, 3, 32, 32))
    torch.testing.assert_close(attention, by_hand(maps), rtol=1e-4, atol=1e-6)


def test_a_layer_without_readable_attention_is_refused() -> None:
    with (
        pytest.raises(UserError, match=r"which Linear does not give\. Use backbone=clip, or another tokeniser"),
        recorded_attention(torch.nn.Linear(2, 2)),
    ):
        pass
