"""The feature maps are checked against the hidden states of transformers' own classes."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    CLIPConfig,
    CLIPModel,
    CLIPTextConfig,
    Dinov2Config,
    Dinov2Model,
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel,
    DINOv3ViTConfig,
    DINOv3ViTModel,
    LlamaConfig,
    Siglip2VisionConfig,
    Siglip2VisionModel,
    SiglipConfig,
    SiglipModel,
    SiglipTextConfig,
    SwinConfig,
    SwinModel,
    ViTConfig,
    ViTModel,
)

from vtok.backbone import VisionBackbone
from vtok.common.errors import UserError

MEAN, STD = [0.2, 0.4, 0.6], [0.5, 0.25, 0.125]
SIZES = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "image_size": 24, "patch_size": 6}
WIDE = {**SIZES, "intermediate_size": 48}
TEXT = {"vocab_size": 60, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}


def dinov2() -> Any:
    return Dinov2Model(Dinov2Config(**SIZES))


def dinov2_registers() -> Any:
    return Dinov2WithRegistersModel(Dinov2WithRegistersConfig(**SIZES, num_register_tokens=3))


def dinov3() -> Any:
    return DINOv3ViTModel(DINOv3ViTConfig(**WIDE, num_register_tokens=2))


def vit() -> Any:
    return ViTModel(ViTConfig(**WIDE))


def siglip() -> Any:
    text = SiglipTextConfig(**TEXT)
    return SiglipModel(SiglipConfig(text_config=text.to_dict(), vision_config=WIDE))


def clip() -> Any:
    text = CLIPTextConfig(**TEXT)
    return CLIPModel(CLIPConfig(text_config=text.to_dict(), vision_config=WIDE, projection_dim=16))


# Each model with its number of tokens before the patches: CLS and registers.
MODELS = {dinov2: 1, dinov2_registers: 4, dinov3: 3, vit: 1, siglip: 0, clip: 1}
RESIZED = {siglip: True, clip: True, vit: True}


def save(model: Any, folder: Path) -> Any:
    """Save a model in the layout of a hub repository, and return its vision half."""
    torch.manual_seed(0)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps({"image_mean": MEAN, "image_std": STD}))
    return getattr(model, "vision_model", model).eval()


def expected(model: Any, frames: torch.Tensor, *, layer: int, leading: int, resized: bool = False) -> torch.Tensor:
    """transformers' hidden state without its leading tokens, as a feature map (N, C, h, w)."""
    normal = (frames - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    options = {"interpolate_pos_encoding": True} if resized else {}
    with torch.no_grad():
        state = model(normal, output_hidden_states=True, **options).hidden_states[layer][:, leading:]
    cells = frames.shape[-1] // 6
    return state.reshape(len(frames), cells, cells, 32).permute(0, 3, 1, 2)


@pytest.mark.parametrize("layer", [-1, -2, 0, 1, 3])
@pytest.mark.parametrize("make", MODELS, ids=lambda make: make.__name__)
def test_equals_transformers_hidden_states(make: Any, layer: int, tmp_path: Path) -> None:
    model = save(make(), tmp_path)
    frames = torch.rand(2, 3, 24, 24)
    backbone = VisionBackbone(tmp_path, layer=layer, image_size=None)
    assert (backbone.feature_dim, backbone.image_size, backbone.feature_size) == (32, 24, 4)
    torch.testing.assert_close(backbone(frames), expected(model, frames, layer=layer, leading=MODELS[make]))


@pytest.mark.parametrize("make", MODELS, ids=lambda make: make.__name__)
def test_another_image_size(make: Any, tmp_path: Path) -> None:
    model = save(make(), tmp_path)
    frames = torch.rand(2, 3, 36, 36)
    backbone = VisionBackbone(tmp_path, image_size=36)
    assert (backbone.image_size, backbone.feature_size) == (36, 6)
    wanted = expected(model, frames, layer=-1, leading=MODELS[make], resized=RESIZED.get(make, False))
    torch.testing.assert_close(backbone(frames), wanted)


def test_only_the_vision_half_is_loaded(tmp_path: Path) -> None:
    save(siglip(), tmp_path)
    assert not any("text" in name for name in VisionBackbone(tmp_path, image_size=None).state_dict())


def test_layers_above_the_chosen_one_are_dropped_except_one(tmp_path: Path) -> None:
    save(dinov2(), tmp_path)
    assert len(VisionBackbone(tmp_path, layer=1, image_size=None).model.encoder.layer) == 2
    assert len(VisionBackbone(tmp_path, layer=2, image_size=None).model.encoder.layer) == 3


@pytest.mark.parametrize("make", [siglip, dinov2_registers], ids=lambda make: make.__name__)
def test_a_frozen_backbone_stays_in_eval_mode_and_gives_no_gradient(make: Any, tmp_path: Path) -> None:
    save(make(), tmp_path)
    backbone = VisionBackbone(tmp_path, image_size=None)
    backbone.train()
    assert not any(module.training for module in backbone.modules())
    assert not any(parameter.requires_grad for parameter in backbone.parameters())
    before = {name: tensor.clone() for name, tensor in backbone.state_dict().items()}
    features = backbone(torch.rand(1, 3, 24, 24))
    assert not features.requires_grad
    assert all(torch.equal(tensor, before[name]) for name, tensor in backbone.state_dict().items())


@pytest.mark.parametrize("make", [siglip, dinov3, vit], ids=lambda make: make.__name__)
def test_every_trained_parameter_of_an_unfrozen_backbone_gets_a_gradient(make: Any, tmp_path: Path) -> None:
    save(make(), tmp_path)
    backbone = VisionBackbone(tmp_path, frozen=False, layer=2, image_size=None)
    assert backbone.training
    backbone(torch.rand(2, 3, 24, 24)).square().mean().backward()
    trained = {name for name, parameter in backbone.named_parameters() if parameter.requires_grad}
    assert trained == {name for name, parameter in backbone.named_parameters() if parameter.grad is not None}
    assert any("layers.1" in name or "layer.1" in name for name in trained)
    assert not any("layers.2" in name or "layer.2" in name or "pooler" in name or "head." in name for name in trained)


def test_parameters_that_the_features_do_not_need_may_be_missing(tmp_path: Path) -> None:
    model = save(ViTModel(ViTConfig(**WIDE), add_pooling_layer=False), tmp_path)
    frames = torch.rand(1, 3, 24, 24)
    features = VisionBackbone(tmp_path, image_size=None)(frames)
    torch.testing.assert_close(features, expected(model, frames, layer=-1, leading=1))
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 4}))
    with pytest.raises(UserError, match=r"backbone\.weights=.*16 of its parameters are missing"):
        VisionBackbone(tmp_path, image_size=None)


def test_dtype(tmp_path: Path) -> None:
    save(dinov3(), tmp_path)
    frames = torch.rand(1, 3, 24, 24)
    features = VisionBackbone(tmp_path, dtype="bfloat16", image_size=None)(frames)
    assert features.dtype == torch.bfloat16
    torch.testing.assert_close(features.float(), VisionBackbone(tmp_path, image_size=None)(frames), rtol=0.1, atol=0.1)
    with pytest.raises(UserError, match=r"backbone\.dtype=float8.*bfloat16"):
        VisionBackbone(tmp_path, dtype="float8")


def test_random_weights_are_those_of_dinov2_l_and_a_warning_says_so(caplog: pytest.LogCaptureFixture) -> None:
    with torch.device("meta"), caplog.at_level(logging.WARNING):
        backbone = VisionBackbone(weights=None, image_size=224)
        assert backbone(torch.zeros(1, 3, 224, 224)).shape == (1, 1024, 16, 16)
    assert "RANDOM weights" in caplog.text
    # What facebook/dinov2-large has.
    assert sum(parameter.numel() for parameter in backbone.parameters()) == 304_368_640


@pytest.mark.parametrize("layer", [4, -5])
def test_a_layer_that_the_model_lacks_is_refused(tmp_path: Path, layer: int) -> None:
    save(dinov2(), tmp_path)
    with pytest.raises(UserError, match=rf"backbone\.layer={layer}: this Dinov2Model has 3 layers\. Use -4 to 3"):
        VisionBackbone(tmp_path, layer=layer, image_size=None)


def test_images_smaller_than_a_patch_are_refused(tmp_path: Path) -> None:
    save(dinov2(), tmp_path)
    with pytest.raises(UserError, match=r"backbone\.image_size=5 leaves out 5 pixels: .* patches of 6\. Use 6 or"):
        VisionBackbone(tmp_path, image_size=5)


def test_images_whose_border_would_not_be_seen_are_refused_unless_the_model_was_trained_so(tmp_path: Path) -> None:
    save(dinov2(), tmp_path / "multiple")
    with pytest.raises(
        UserError,
        match=r"backbone\.image_size=40 leaves out 4 pixels: .* patches of 6\. Use 36 or 42\.",
    ):
        VisionBackbone(tmp_path / "multiple", image_size=40)
    # SigLIP's largest has patches of 14 pixels in images of 384.
    text = SiglipTextConfig(**TEXT).to_dict()
    save(SiglipModel(SiglipConfig(text_config=text, vision_config={**WIDE, "image_size": 26})), tmp_path / "own")
    assert VisionBackbone(tmp_path / "own", image_size=26).feature_size == 4


def test_a_language_model_is_refused_by_its_name(tmp_path: Path) -> None:
    LlamaConfig().save_pretrained(tmp_path)
    with pytest.raises(UserError, match=r"no vision transformer that can be read \(its model_type is llama\)\. Set"):
        VisionBackbone(tmp_path)


def test_a_folder_without_the_image_processors_file_is_refused(tmp_path: Path) -> None:
    save(dinov2(), tmp_path)
    (tmp_path / "preprocessor_config.json").unlink()
    with pytest.raises(UserError, match=r"backbone\.weights=.*preprocessor_config\.json with image_mean and image_std"):
        VisionBackbone(tmp_path, image_size=None)


def test_a_model_without_a_square_feature_map_of_patches_is_refused(tmp_path: Path) -> None:
    save(Siglip2VisionModel(Siglip2VisionConfig(**{**WIDE, "num_patches": 16})), tmp_path / "naflex")
    save(
        SwinModel(SwinConfig(embed_dim=8, depths=[1, 1], num_heads=[1, 2], image_size=24, patch_size=6, window_size=2)),
        tmp_path / "swin",
    )
    for name in ("naflex", "swin"):
        with pytest.raises(UserError, match=r"backbone\.weights=.*no vision transformer that can be read"):
            VisionBackbone(tmp_path / name, image_size=None)


def test_neither_folder_nor_hub_id(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no such folder.*backbone\.weights=PATH.*backbone\.weights=null"):
        VisionBackbone("bad id!")
    with pytest.raises(UserError, match=r"backbone\.weights=.*config\.json and model\.safetensors"):
        VisionBackbone(tmp_path, image_size=None)


def test_on_the_meta_device_only_the_shapes_of_a_folder_are_read(tmp_path: Path) -> None:
    save(siglip(), tmp_path)
    full = VisionBackbone(tmp_path, image_size=None)
    (tmp_path / "model.safetensors").unlink()
    with torch.device("meta"):
        shapes = VisionBackbone(tmp_path, image_size=None)
    assert {name: one.shape for name, one in shapes.state_dict().items()} == {
        name: one.shape for name, one in full.state_dict().items()
    }
    assert all(one.is_meta for one in shapes.parameters())
