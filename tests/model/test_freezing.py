"""The trained weights are those that get a gradient, for every objective, visual head and decoder."""

from collections.abc import Callable
from itertools import product
from pathlib import Path

import pytest
import torch
from torch import nn

from vtok.backbone import TinyBackbone
from vtok.common.errors import UserError
from vtok.decoder import HunyuanVideoDecoder, NoDecoder, TinyDecoder, WanDecoder
from vtok.hub import toys
from vtok.mllm import TinyLanguageModel
from vtok.model import Objective, VideoLanguageModel
from vtok.model.batch import Batch, stack_text
from vtok.tokeniser import PlannedFrames, VTokTokeniser
from vtok.visual_head import FlowHead, MixtureHead, NoVisualHead, RegressionHead

WEIGHTS = [lambdas for lambdas in product((0.0, 1.0), repeat=3) if any(lambdas)]
HEADS: dict[str, Callable[[int, int], nn.Module]] = {
    "flow": lambda hidden, token: FlowHead(hidden, token, width=8, steps=2),
    "mixture": lambda hidden, token: MixtureHead(hidden, token, components=2),
    "regression": RegressionHead,
    "none": NoVisualHead,
}
SIZES = {"num_frames": 5, "size": 32}


@pytest.fixture(scope="module")
def decoders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Callable[[int], nn.Module]]:
    return make_decoders(tmp_path_factory.mktemp("toys"))


def make_decoders(folder: Path) -> dict[str, Callable[[int], nn.Module]]:
    torch.manual_seed(0)
    toys.hunyuan_video(text_dim=32).save_pretrained(folder / "hunyuan")
    toys.wan(text_dim=16, boundary_ratio=0.875).save_pretrained(folder / "wan")
    tiny = {"size": 16, "num_frames": 4, "heads": 2, "head_dim": 12, "double_layers": 1}
    hunyuan = {"weights": folder / "hunyuan", "dtype": "float32", **SIZES}
    wan = {"weights": folder / "wan", "dtype": "float32", "text_length": 16, "adapter_width": 8, **SIZES}
    return {
        "none": NoDecoder,
        "tiny": lambda width: TinyDecoder(width, single_layers=1, **tiny),
        "tiny without single layers": lambda width: TinyDecoder(width, single_layers=0, condition_dropout=0.0, **tiny),
        "hunyuan_video": lambda width: HunyuanVideoDecoder(width, **hunyuan),
        "hunyuan_video, trained": lambda width: HunyuanVideoDecoder(width, frozen=False, **hunyuan),
        "hunyuan_video, last layer": lambda width: HunyuanVideoDecoder(width, condition_layer=-1, **hunyuan),
        "hunyuan_video, offloaded": lambda width: HunyuanVideoDecoder(width, offload=True, **hunyuan),
        "wan": lambda width: WanDecoder(width, mode="append", **wan),
        "wan, trained": lambda width: WanDecoder(width, frozen=False, condition_dropout=0.0, **wan),
    }


def make_model(
    lambdas: tuple[float, float, float], head: str, decoder: Callable[[int], nn.Module], layers: int = 3
) -> VideoLanguageModel:
    torch.manual_seed(1)
    return VideoLanguageModel(
        tokeniser=VTokTokeniser(TinyBackbone(feature_dim=8, width=8), grid_size=2, token_dim=6),
        mllm=TinyLanguageModel(width=32, layers=layers, heads=2),
        visual_head=HEADS[head],
        decoder=decoder,
        objective=Objective(*lambdas),
    )


def make_batch(model: VideoLanguageModel) -> Batch:
    """One clip of three planned frames. With a single clip, all noise levels belong to one expert of Wan."""
    chat, tokens = model.mllm.chat, model.tokeniser.planner.num_tokens(3)
    frames = torch.randint(0, 256, (1, 3, 3, 64, 64), dtype=torch.uint8)
    conversation = chat.encode([("which way?", "left")], num_video_tokens=tokens)
    request = chat.encode_video("a red ball.", num_video_tokens=tokens)
    target = None
    if model.decodes:
        plan = model.decoder.target
        target = torch.randint(0, 256, (1, plan.num_frames, 3, plan.size, plan.size), dtype=torch.uint8)
    return Batch(
        video=PlannedFrames(
            frames, torch.zeros(1, dtype=torch.long), torch.ones(1, 3, dtype=torch.bool), torch.zeros(1, 3)
        ),
        text=stack_text([conversation], pad_id=chat.pad_id),
        captions=stack_text([request], pad_id=chat.pad_id),
        target=target,
    )


def combinations() -> list[tuple[tuple[float, float, float], str, str]]:
    """Every set of losses, and every head and decoder at least once."""
    found = [(lambdas, "flow" if lambdas[1] else "none", "tiny" if lambdas[2] else "none") for lambdas in WEIGHTS]
    found += [((0.0, 1.0, 0.0), head, "none") for head in ("mixture", "regression")]
    found += [((1.0, 0.0, 0.0), "flow", "tiny")]
    for decoder in ("hunyuan_video", "hunyuan_video, trained", "hunyuan_video, last layer", "wan", "wan, trained"):
        found += [((0.0, 0.0, 1.0), "none", decoder)]
    found += [((0.0, 0.0, 1.0), "none", "tiny without single layers")]
    return [*found, ((0.0, 1.0, 1.0), "regression", "hunyuan_video"), ((1.0, 0.0, 1.0), "none", "hunyuan_video")]


@pytest.mark.parametrize(("lambdas", "head", "decoder"), combinations())
def test_exactly_the_trained_weights_get_a_gradient(
    lambdas: tuple[float, float, float],
    head: str,
    decoder: str,
    decoders: dict[str, Callable[[int], nn.Module]],
) -> None:
    model = make_model(lambdas, head, decoders[decoder]).train()
    model(make_batch(model))["loss"].backward()
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert {name for name, parameter in model.named_parameters() if parameter.grad is not None} == trained
    assert any(name.startswith("tokeniser.") for name in trained)
    # Only answers need the output layer.
    assert ("mllm.model.lm_head.weight" in trained) == bool(lambdas[0])


def test_layers_above_the_condition_layer_are_trained_only_if_another_loss_uses_them(
    decoders: dict[str, Callable[[int], nn.Module]],
) -> None:
    above = {"mllm.model.model.norm.weight", "mllm.model.model.layers.1.mlp.up_proj.weight"}
    for lambdas, head, there in (((0.0, 0.0, 1.0), "none", False), ((0.0, 1.0, 1.0), "flow", True)):
        model = make_model(lambdas, head, decoders["hunyuan_video"])
        trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
        assert above <= trained if there else not above & trained
        assert "mllm.model.model.layers.0.mlp.up_proj.weight" in trained


def test_the_same_weights_are_frozen_on_the_meta_device(decoders: dict[str, Callable[[int], nn.Module]]) -> None:
    """`vtok plan` counts the parameters of such a model."""
    counted = []
    for device in ("cpu", "meta"):
        with torch.device(device):
            model = make_model((0.0, 1.0, 0.0), "flow", decoders["none"])
        counted.append({name for name, parameter in model.named_parameters() if parameter.requires_grad})
    assert counted[0] == counted[1]
    assert "mllm.model.lm_head.weight" not in counted[0]


def test_a_layer_that_the_language_model_lacks_is_refused(decoders: dict[str, Callable[[int], nn.Module]]) -> None:
    with pytest.raises(
        UserError, match=r"decoder\.condition_layer=-3: this language model has 1 layers\. Use -1 to -1"
    ):
        make_model((0.0, 0.0, 1.0), "none", decoders["hunyuan_video"], layers=1)
