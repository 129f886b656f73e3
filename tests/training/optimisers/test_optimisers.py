"""Optimisers with a smaller state than AdamW: they resume bit for bit, and their steps are correct."""

import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from vtok.common.errors import UserError
from vtok.config import check, compose
from vtok.model.build import build_optimiser, build_scheduler
from vtok.training import train
from vtok.training.checkpoint import list_checkpoints, load_training, save_checkpoint
from vtok.training.optimiser_state import load_state, state_by_name
from vtok.training.optimisers import AdamW, AdamW8bit

needs_bitsandbytes = pytest.mark.skipif(find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed")
BOTH = ["adafactor", pytest.param("adamw8bit", marks=needs_bitsandbytes)]


def loss_of(layer: nn.Linear, step: int) -> Tensor:
    inputs = torch.randn(16, layer.in_features, generator=torch.Generator().manual_seed(step))
    return (layer(inputs) - inputs.roll(1, dims=1)).square().mean()


def steps(layer: nn.Linear, optimiser: torch.optim.Optimizer, *, first: int, last: int) -> list[float]:
    losses = []
    for step in range(first, last):
        optimiser.zero_grad()
        loss = loss_of(layer, step)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return losses


def layer_of(width: int) -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(width, width)


@needs_bitsandbytes
def test_codes_of_a_channels_last_convolution_are_in_the_order_of_its_weights() -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(16, 32, 3).to(memory_format=torch.channels_last)
    optimiser = AdamW8bit([{"params": list(layer.parameters())}])
    layer(torch.randn(4, 16, 8, 8)).square().mean().backward()
    optimiser.step()
    codes = [value for value in optimiser.state[layer.weight].values() if torch.is_tensor(value) and value.ndim == 4]
    assert len(codes) == 2
    assert all(one.stride() == layer.weight.stride() for one in codes)


@pytest.mark.parametrize("optimiser", BOTH)
def test_a_resumed_run_equals_an_uninterrupted_one(optimiser: str, tiny_run: list[str], tmp_path: Path) -> None:
    settings = [*tiny_run, "scheduler=constant", f"optimiser={optimiser}"]
    whole = train(compose([*settings, "trainer.max_steps=5"]), run_dir=tmp_path / "whole")
    train(compose([*settings, "trainer.max_steps=2"]), run_dir=tmp_path / "cut")
    resumed = train(compose([*settings, "trainer.max_steps=5", f"resume={tmp_path / 'cut'}"]))
    assert resumed["digest/trained"] == whole["digest/trained"]
    saved = [load_file(list_checkpoints(tmp_path / name / "checkpoints")[-1] / "optimiser.safetensors") for name in
             ("whole", "cut")]  # fmt: skip
    assert saved[0].keys() == saved[1].keys()
    assert all(torch.equal(tensor, saved[1][name]) for name, tensor in saved[0].items())
    assert (optimiser == "adamw8bit") == any(
        tensor.dtype == torch.uint8 for name, tensor in saved[0].items() if not name.startswith("random")
    )


@needs_bitsandbytes
def test_small_parameters_step_as_adamw_and_large_ones_nearly() -> None:
    for width, tolerance in ((60, 1e-6), (64, 2e-2)):
        ours, theirs = layer_of(width), layer_of(width)
        groups = [{"params": [ours.weight], "hidden": True}, {"params": [ours.bias], "weight_decay": 0.0}]
        eight = AdamW8bit(groups, lr=1e-2, betas=[0.9, 0.98], weight_decay=0.1)
        usual = [{"params": [theirs.weight]}, {"params": [theirs.bias], "weight_decay": 0.0}]
        losses = steps(ours, eight, first=0, last=20)
        truth = steps(theirs, torch.optim.AdamW(usual, lr=1e-2, betas=(0.9, 0.98), weight_decay=0.1), first=0, last=20)
        assert losses == pytest.approx(truth, rel=tolerance)
        assert truth[-1] < 0.6 * truth[0]
        assert (eight.state[ours.weight]["state1"].dtype == torch.uint8) == (width == 64)


@needs_bitsandbytes
def test_it_resumes_like_bitsandbytes(tmp_path: Path) -> None:
    from bitsandbytes.optim import AdamW8bit as Own

    ours, whole, again = layer_of(64), layer_of(64), layer_of(64)
    eight = AdamW8bit([{"params": ours.parameters()}], lr=1e-2)
    steps(ours, eight, first=0, last=3)
    saved = save_checkpoint(tmp_path, model=ours, optimiser=eight, samples=0, step=3, keep=1)
    codes = load_file(saved / "optimiser.safetensors")["weight/state1"]
    assert codes.dtype == torch.uint8
    assert codes.shape == (64, 64)
    other = AdamW8bit([{"params": again.parameters()}], lr=1e-2)
    load_training(saved, model=again, optimiser=other, scheduler=torch.optim.lr_scheduler.StepLR(other, step_size=100))
    steps(again, other, first=3, last=7)
    steps(whole, Own(whole.parameters(), lr=1e-2, betas=(0.9, 0.98)), first=0, last=7)
    assert torch.equal(again.weight, whole.weight)
    assert torch.equal(again.bias, whole.bias)


def test_adafactor_of_the_configuration_steps_as_torchs(tiny_run: list[str]) -> None:
    config = compose([*tiny_run, "optimiser=adafactor", "optimiser.lr=0.02", "scheduler=constant"])
    ours, theirs = layer_of(64), layer_of(64)
    groups = [{"params": [theirs.weight]}, {"params": [theirs.bias], "weight_decay": 0.0}]
    truth = torch.optim.Adafactor(groups, lr=0.02, weight_decay=0.01)
    holder = nn.Module()
    holder.layer, holder.mllm = ours, nn.Module()
    holder.mllm.vocabulary_layers = list
    optimiser = build_optimiser(config, holder)
    build_scheduler(config, optimiser)
    for group in optimiser.param_groups:
        group["lr"] = 0.02
    assert steps(ours, optimiser, first=0, last=5) == steps(theirs, truth, first=0, last=5)


def test_a_missing_package_is_reported_only_if_it_is_needed(
    tiny_run: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    monkeypatch.setitem(sys.modules, "bitsandbytes.optim", None)
    monkeypatch.setattr(sys.modules["vtok.config.check"], "find_spec", lambda name: None)
    config = compose([*tiny_run, "optimiser=adamw8bit"])
    with pytest.raises(UserError, match=r"^optimiser: .*AdamW8bit needs bitsandbytes.*pip install 'vtok\[bnb\]'"):
        check(config)
    check(config, files=False)
    with pytest.raises(UserError, match=r"pip install 'vtok\[bnb\]'"):
        AdamW8bit([{"params": layer_of(4).parameters()}], lr=1.0)


def test_fused_adamw_steps_and_resumes_as_adamw() -> None:
    """The fused kernel rounds differently, and keeps its step count where the weights are."""
    layers = [layer_of(24) for _ in range(3)]
    plain, fused = (
        AdamW([{"params": layer.parameters()}], lr=0.01, fused=fused)
        for layer, fused in zip(layers, (False, True), strict=False)
    )
    losses = [steps(layer, one, first=0, last=6) for layer, one in zip(layers, (plain, fused), strict=False)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
    torch.testing.assert_close(layers[1].weight, layers[0].weight)
    assert (plain.defaults["fused"], fused.defaults["fused"]) == (None, True)
    other = AdamW([{"params": layers[2].parameters()}], lr=0.01, fused=True)
    steps(layers[2], other, first=0, last=3)
    weights = dict(layers[2].named_parameters())
    again = AdamW([{"params": layers[2].parameters()}], lr=0.01, fused=True)
    load_state(again, state_by_name(other, weights), weights)
    steps(layers[2], again, first=3, last=6)
    assert torch.equal(layers[2].weight, layers[1].weight)
