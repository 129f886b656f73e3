"""Runs on a GPU, beside runs on the CPU."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from vtok.config import compose
from vtok.training import train

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")]


def weights(run_dir: Path) -> dict[str, torch.Tensor]:
    return load_file(run_dir / "checkpoints" / "step-00000003" / "model.safetensors")


def test_a_gpu_trains_as_the_cpu_does(tiny_run: list[str], tmp_path: Path) -> None:
    settings = [*tiny_run, "trainer.precision=fp32"]
    for device in ("auto", "cpu"):
        train(compose([*settings, f"trainer.device={device}"]), run_dir=tmp_path / device)
    there, here = weights(tmp_path / "auto"), weights(tmp_path / "cpu")
    for name, tensor in here.items():
        torch.testing.assert_close(there[name], tensor, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_deterministic_run_is_the_same_again_and_resumed(precision: str, tiny_run: list[str], tmp_path: Path) -> None:
    """With noise and dropout on the GPU. Adaptive pooling has no deterministic gradient, so the backbone is frozen."""
    settings = [*tiny_run, "objective=joint", "backbone.frozen=true", "scheduler=constant", "loader.num_workers=1"]
    settings += ["trainer.deterministic=true", f"trainer.precision={precision}"]
    whole = train(compose([*settings, "trainer.max_steps=4"]), run_dir=tmp_path / "whole")
    again = train(compose([*settings, "trainer.max_steps=4"]), run_dir=tmp_path / "again")
    assert again["digest/trained"] == whole["digest/trained"]
    train(compose([*settings, "trainer.max_steps=2"]), run_dir=tmp_path / "cut")
    resumed = train(compose([*settings, "trainer.max_steps=4", f"resume={tmp_path / 'cut'}"]))
    assert resumed["digest/trained"] == whole["digest/trained"]
