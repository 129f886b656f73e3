"""Runs with random weights, whose outputs depend on all of their inputs."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from vtok.config import compose
from vtok.model.build import build_model, build_optimiser
from vtok.runs.folder import open_run, write_status
from vtok.training.checkpoint import save_checkpoint

SMALL = (
    "clip.num_frames=12",
    "tokeniser.stride=3",
    "tokeniser.grid_size=2",
    "backbone.feature_dim=16",
    "backbone.width=8",
    "mllm.width=32",
    "mllm.layers=1",
    "mllm.heads=2",
    "generation.steps=3",
    "tracking=none",
)
GENERATING = (
    "objective=joint",
    "visual_head.width=16",
    "visual_head.steps=2",
    "decoder.num_frames=4",
    "decoder.size=16",
    "decoder.heads=2",
    "decoder.head_dim=12",
    "decoder.double_layers=1",
    "decoder.single_layers=0",
)

MakeRun = Callable[..., Path]


@pytest.fixture(scope="session")
def make_run(tmp_path_factory: pytest.TempPathFactory) -> MakeRun:
    """A finished run of a small model, and of a small decoder where `generating`, with further overrides."""

    def make(*overrides: str, generating: bool = False) -> Path:
        run_dir = tmp_path_factory.mktemp("outputs") / "run"
        settings = [*SMALL, *(GENERATING if generating else ()), *overrides]
        config = compose([*settings, f"outputs={run_dir.parent}"])
        model = build_model(config)
        with torch.no_grad():
            # A decoder begins with zeros in many places, so that nothing would depend on the tokens.
            for parameter in model.parameters():
                parameter.add_(0.2 * torch.randn_like(parameter))
        open_run(run_dir, config, [])
        optimiser = build_optimiser(config, model)
        save_checkpoint(run_dir / "checkpoints", model=model, optimiser=optimiser, samples=0, step=1, keep=1)
        write_status(run_dir, "finished", None)
        return run_dir

    return make


@pytest.fixture(scope="session")
def joint_run(make_run: MakeRun) -> Path:
    """A run that understands and generates videos of 4 frames of 16 x 16 pixels."""
    return make_run(generating=True)


@pytest.fixture(scope="session")
def understanding_run(make_run: MakeRun) -> Path:
    return make_run()
