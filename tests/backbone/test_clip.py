import json
import logging
import socket
import time
from pathlib import Path

import pytest
import torch
from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPVisionConfig, CLIPVisionModel

from vtok.backbone import ClipBackbone
from vtok.backbone.clip import WEIGHTS
from vtok.common.errors import UserError

VISION = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "image_size": 42,
    "patch_size": 7,
    "projection_dim": 16,
}
MEAN = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(3, 1, 1)
STD = torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(3, 1, 1)


@pytest.fixture
def model() -> CLIPVisionModel:
    return CLIPVisionModel(CLIPVisionConfig(**VISION)).eval()


@pytest.fixture
def folder(model: CLIPVisionModel, tmp_path: Path) -> Path:
    model.save_pretrained(tmp_path / "clip")
    return tmp_path / "clip"


def hidden_state(model: CLIPVisionModel, frames: torch.Tensor, layer: int) -> torch.Tensor:
    """transformers' hidden state of the layer without CLS, as a feature map (N, C, h, w)."""
    with torch.no_grad():
        state = model((frames - MEAN) / STD, output_hidden_states=True).hidden_states[layer][:, 1:]
    return state.reshape(len(frames), 6, 6, 32).permute(0, 3, 1, 2)


@pytest.mark.parametrize("layer", [-1, -2, -4, 0, 2, 3])
def test_equals_transformers_hidden_states(model: CLIPVisionModel, folder: Path, layer: int):
    frames = torch.rand(2, 3, 42, 42)
    backbone = ClipBackbone(folder, layer=layer)
    assert (backbone.feature_dim, backbone.image_size, backbone.feature_size) == (32, 42, 6)
    torch.testing.assert_close(backbone(frames), hidden_state(model, frames, layer))


def test_layers_above_the_chosen_one_are_dropped(folder: Path):
    backbone = ClipBackbone(str(folder), layer=-2)
    assert len(backbone.vision_model.encoder.layers) == 2
    assert not any("post_layernorm" in name for name in backbone.state_dict())


def test_every_parameter_of_an_unfrozen_backbone_is_trained(folder: Path):
    backbone = ClipBackbone(folder, frozen=False)
    backbone(torch.rand(2, 3, 42, 42)).square().mean().backward()
    assert all(parameter.grad is not None for parameter in backbone.parameters())


def test_loads_the_vision_half_of_a_full_clip(tmp_path: Path):
    text = CLIPTextConfig(
        vocab_size=60, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2
    )
    config = CLIPConfig(text_config=text.to_dict(), vision_config=VISION, projection_dim=16)
    full = CLIPModel(config).eval()
    full.save_pretrained(tmp_path)
    frames = torch.rand(1, 3, 42, 42)
    torch.testing.assert_close(ClipBackbone(tmp_path)(frames), hidden_state(full.vision_model, frames, -1))


def test_dtype(folder: Path):
    frames = torch.rand(1, 3, 42, 42)
    features = ClipBackbone(folder, dtype="bfloat16")(frames)
    assert features.dtype == torch.bfloat16
    torch.testing.assert_close(features.float(), ClipBackbone(folder)(frames), rtol=0.05, atol=0.05)
    with pytest.raises(UserError, match=r"backbone\.dtype=float8.*bfloat16"):
        ClipBackbone(folder, dtype="float8")


def test_random_weights_are_those_of_clip_l_and_a_warning_says_so(caplog: pytest.LogCaptureFixture):
    with torch.device("meta"), caplog.at_level(logging.WARNING):
        backbone = ClipBackbone(weights=None)
        assert backbone(torch.zeros(1, 3, 336, 336)).shape == (1, 1024, 24, 24)
    assert "RANDOM weights" in caplog.text
    # openai/clip-vit-large-patch14-336 has 303.5 M vision parameters. 2,048 are in the final norm, which is dropped.
    assert sum(parameter.numel() for parameter in backbone.parameters()) == 303_507_456 - 2_048
    assert backbone.frozen


@pytest.mark.parametrize("layer", [4, -5])
def test_a_layer_that_the_model_lacks_is_refused(folder: Path, layer: int):
    with pytest.raises(UserError, match=rf"backbone\.layer={layer}: this CLIP has 3 layers\. Use -4 to 3"):
        ClipBackbone(folder, layer=layer)


def test_without_network_and_weights_the_error_is_quick_and_one_line(monkeypatch: pytest.MonkeyPatch):
    def refuse(*_args: object, **_options: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    start = time.monotonic()
    with pytest.raises(UserError) as caught:
        ClipBackbone("vtok-tests/a-model-that-no-cache-holds")
    assert time.monotonic() - start < 2
    message = str(caught.value)
    assert message.startswith("backbone.weights=vtok-tests/a-model-that-no-cache-holds: ")
    assert "backbone.weights=PATH" in message
    assert "backbone.weights=null" in message
    assert "\n" not in message


@pytest.mark.parametrize("name", ["/nowhere/clip", "a/b/c", "bad id!"])
def test_neither_folder_nor_hub_id(name: str):
    start = time.monotonic()
    with pytest.raises(UserError, match=r"no such folder.*backbone\.weights=PATH.*backbone\.weights=null"):
        ClipBackbone(name)
    assert time.monotonic() - start < 1


def test_folder_without_a_model(tmp_path: Path):
    with pytest.raises(UserError, match=r"backbone\.weights=.*config\.json and model\.safetensors"):
        ClipBackbone(tmp_path)


def test_folder_with_a_broken_file(folder: Path):
    (folder / "model.safetensors").write_bytes(b"not a tensor")
    with pytest.raises(UserError, match="no CLIP model that can be read"):
        ClipBackbone(folder)


def test_weights_of_another_size(folder: Path):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "hidden_size": 64}))
    with pytest.raises(UserError, match="no CLIP model that can be read"):
        ClipBackbone(folder)


def test_another_image_size_than_that_of_the_weights_is_refused(folder: Path):
    assert ClipBackbone(folder, image_size=42).image_size == 42
    with pytest.raises(UserError, match=r"backbone\.image_size=28: .* Set backbone\.image_size=42"):
        ClipBackbone(folder, image_size=28)
    shape = ClipBackbone.feature_shape({"weights": WEIGHTS, "image_size": 224, "layer": -1})
    assert shape is not None
    assert shape.size == 24
    random = ClipBackbone.feature_shape({"weights": None, "image_size": 224, "layer": -1})
    assert random is not None
    assert random.size == 16


def test_missing_parameters_are_refused(folder: Path):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 4}))
    with pytest.raises(UserError, match="16 of its parameters are missing"):
        ClipBackbone(folder)
