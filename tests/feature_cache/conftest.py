"""Clips of different lengths, and runs that return the loss of each step."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vtok.cli.verbs.precompute import precompute
from vtok.config import compose
from vtok.data import clip_reader as reading
from vtok.data.video.common import BadVideoError
from vtok.hub.toys import make_toys
from vtok.training import train
from vtok.training.step_numbers import StepNumbers

SMALL = (
    "backbone.feature_dim=16",
    "backbone.width=8",
    "backbone.frozen=true",
    "clip.num_frames=12",
    "loader.num_workers=0",
    "loader.batch_size=4",
    "mllm.width=32",
    "mllm.layers=1",
    "mllm.heads=2",
    "evaluation.max_new_tokens=4",
    "scheduler=constant",
    "scheduler.num_warmup_steps=0",
    "trainer.max_steps=4",
    "trainer.device=cpu",
    "trainer.progress=false",
    "tracking=none",
)
SHAPES = (
    "data.train_clips=12",
    "data.validation_clips=4",
    "data.test_clips=4",
    "data.make_workers=1",
    "data.families=[motion,count]",
)

JOINT = (
    "objective=joint",
    "visual_head.width=16",
    "visual_head.steps=2",
    "generation.steps=2",
    "generation.max_clips=2",
)


@pytest.fixture
def clips(tmp_path: Path, make_video: Callable[..., Path]) -> Path:
    """Ten clips of 4 to 13 frames, two of them for the test."""
    folder = tmp_path / "clips"
    folder.mkdir()
    lines = []
    for number in range(10):
        make_video(folder / f"{number}.mp4", 4 + number)
        split = {3: "test", 7: "test", 8: "validation"}.get(number, "train")
        lines.append(json.dumps({"file": f"{number}.mp4", "caption": f"clip {number}", "split": split}))
    (folder / "manifest.jsonl").write_text("\n".join(lines))
    return folder


@pytest.fixture
def folder(clips: Path, tmp_path: Path) -> list[str]:
    """Overrides of a small run on `clips`."""
    return [*SMALL, "data=folder", f"data.root={clips}", f"outputs={tmp_path / 'outputs'}"]


@pytest.fixture
def joint(tmp_path: Path) -> Callable[[str], list[str]]:
    """Overrides of a small run on synthetic clips that trains a decoder: "tiny" or a toy "hunyuan_video"."""

    def overrides(decoder: str) -> list[str]:
        sizes = ("num_frames=4", "size=32", "heads=2", "head_dim=12", "double_layers=1", "single_layers=0")
        if decoder == "hunyuan_video":
            make_toys(tmp_path / "toys")
            sizes = (
                "condition_layer=-1",
                "num_frames=5",
                "size=32",
                "dtype=float32",
                f"weights={tmp_path / 'toys' / 'hunyuan_video'}",
            )
        settings = [*SMALL, *SHAPES, *JOINT, f"decoder={decoder}", f"outputs={tmp_path / 'outputs'}"]
        return [*settings, *(f"decoder.{one}" for one in sizes)]

    return overrides


@pytest.fixture
def cache(folder: list[str], tmp_path: Path) -> Path:
    """The features of `folder`, in blocks of about 3."""
    precompute(out=str(tmp_path / "cache"), tokenisers=["vtok"], block=3, dtype="float32", overrides=folder)
    return tmp_path / "cache"


@pytest.fixture
def losses(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[list[float], dict[str, Any]]]:
    """Trains with overrides in a folder; returns the loss of each step, and the metrics."""
    read = StepNumbers.read

    def run(overrides: list[str], run_dir: Path) -> tuple[list[float], dict[str, Any]]:
        found: list[float] = []

        def noted(self: StepNumbers) -> list[dict[str, float]]:
            numbers = read(self)
            found.extend(one["loss"] for one in numbers)
            return numbers

        monkeypatch.setattr(StepNumbers, "read", noted)
        return found, train(compose(overrides), run_dir=run_dir)

    return run


@pytest.fixture
def no_decoding(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From the call on, no file can be decoded."""

    def refuse(clip, **_settings):
        raise BadVideoError(clip.path, "it was to be decoded")

    return lambda: monkeypatch.setattr(reading, "open_clip", refuse)
