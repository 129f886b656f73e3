"""Small runs that learn to generate videos."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from omegaconf import DictConfig
from safetensors.torch import load_file
from torch import Tensor

from vtok.common.paths import conf_dir
from vtok.config import compose
from vtok.model import VideoLanguageModel
from vtok.model.batch import Batch
from vtok.model.build import build, build_model
from vtok.runs.folder import read_status
from vtok.tracking.store import resolve_uri
from vtok.training import train
from vtok.training.batches import training_batches
from vtok.training.checkpoint import load_weights
from vtok.training.loop import Start

SMALL = (
    "data.train_clips=12",
    "data.validation_clips=8",
    "data.test_clips=8",
    "data.seed=3",
    "data.families=[motion,count]",
    "clip.num_frames=12",
    "data.make_workers=1",
    "loader.num_workers=0",
    "loader.batch_size=4",
    "backbone.feature_dim=16",
    "backbone.width=8",
    "mllm.width=32",
    "mllm.layers=1",
    "mllm.heads=2",
    "visual_head.width=16",
    "visual_head.steps=2",
    "decoder.num_frames=4",
    "decoder.size=32",
    "decoder.heads=2",
    "decoder.head_dim=12",
    "decoder.double_layers=1",
    "decoder.single_layers=0",
    "evaluation.max_new_tokens=4",
    "generation.steps=2",
    "generation.clips_while_training=3",
    "scheduler=constant",
    "scheduler.num_warmup_steps=0",
    "trainer.max_steps=3",
    "trainer.progress=false",
    "tracking=none",
)


@dataclass(frozen=True)
class Ended:
    """A finished run."""

    config: DictConfig
    folder: Path
    figures: dict[str, Any]

    def saved(self, step: int, name: str = "model") -> dict[str, Tensor]:
        return load_file(self.folder / "checkpoints" / f"step-{step:08d}" / f"{name}.safetensors")

    def files(self, folder: str) -> set[str]:
        return {path.name for path in (self.folder / folder).iterdir()}

    def measures(self) -> set[str]:
        """The first parts of the names of the metrics of test clips."""
        others = {"parameters", "digest", "data", "validation"}
        return {name.split("/")[0] for name in self.figures if "/" in name} - others

    def history(self, name: str) -> dict[int, float]:
        """The values of a metric in the store, by step."""
        run_id = read_status(self.folder)["mlflow_run_id"]
        tracking = self.config.tracking
        points = MlflowClient(resolve_uri(tracking.uri, tracking.folder)).get_metric_history(run_id, name)
        return {point.step: point.value for point in points}


@pytest.fixture(scope="session")
def model_and_batches() -> Callable[..., tuple[VideoLanguageModel, Iterator[Batch]]]:
    """Builds what a run steps with: its model, in training mode, and its batches from `start` on."""

    def make(
        config: DictConfig, *, start: Start, weights: Path | None = None
    ) -> tuple[VideoLanguageModel, Iterator[Batch]]:
        model, source = build_model(config), build(config.data)
        if weights is not None:
            load_weights(weights, model)
        source.prepare()
        batches = training_batches(
            trainer=build(config.trainer),
            model=model,
            source=source,
            loader=build(config.loader),
            clips=source.clips("train"),
            seed=config.seed,
            start=start,
        )
        return model.train(), batches

    return make


@pytest.fixture(scope="session")
def torchrun() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Starts two processes of a script as a user does, and waits for them."""

    def run(script: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [
                sys.executable,
                "-m",
                "torch.distributed.run",
                "--standalone",
                "--nproc_per_node=2",
                str(script),
                *arguments,
            ],
            capture_output=True,
            text=True,
            timeout=240,
            env={"PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(conf_dir().parent)},
        )

    return run


@pytest.fixture(scope="session")
def run_it(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Ended]:
    """Makes a run of SMALL and further overrides, in a folder of its own or that of the run to `resume`."""
    outputs = tmp_path_factory.mktemp("outputs")

    def run(objective: str, *overrides: str, resume: Path | None = None) -> Ended:
        given = [f"objective={objective}", *SMALL, *overrides, f"outputs={outputs}"]
        if resume is not None:
            config = compose([*given, f"resume={resume}"])
            return Ended(config, resume, train(config))
        config, folder = compose(given), tmp_path_factory.mktemp("runs") / "run"
        return Ended(config, folder, train(config, run_dir=folder))

    return run
