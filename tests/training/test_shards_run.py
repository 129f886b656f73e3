"""Runs on packed clips (shards)."""

import shlex
from pathlib import Path

import pytest

from vtok.cli.main import main
from vtok.config import compose
from vtok.training import train


@pytest.fixture
def packed_run(tiny_run: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Overrides of a tiny run on the tiny run's own clips, packed by the command."""
    out = tmp_path / "the shards"
    assert main(["data", "pack", *tiny_run, f"out={out}"]) == 0
    told = capsys.readouterr().out
    assert told.startswith("packed 20 clips into 1 shards")
    assert shlex.split(told.splitlines()[-1]) == ["python", "train.py", "data=shards", f"data.root={out}"]
    made = ("data.train_clips", "data.validation_clips", "data.test_clips", "data.make_workers")
    settings = [item for item in tiny_run if not item.startswith(made)]
    return [*settings, "data=shards", f"data.root={out}", "scheduler=constant"]


@pytest.mark.parametrize("changes", [[], ["data.shuffle_buffer=5", "loader.num_workers=2"]], ids=str)
def test_a_resumed_run_on_shards_equals_an_uninterrupted_one(
    changes: list[str], packed_run: list[str], tmp_path: Path
) -> None:
    settings = [*packed_run, *changes]
    whole = train(compose([*settings, "trainer.max_steps=5"]), run_dir=tmp_path / "whole")
    train(compose([*settings, "trainer.max_steps=2"]), run_dir=tmp_path / "cut")
    resumed = train(compose([*settings, "trainer.max_steps=5", f"resume={tmp_path / 'cut'}"]))
    assert resumed["digest/trained"] == whole["digest/trained"]
    assert whole["data/bad_files"] == 0


def test_shards_train_as_the_files_do(packed_run: list[str], tiny_run: list[str], tmp_path: Path) -> None:
    """The clips are the same in the same order, and so is the model."""
    files = train(compose([*tiny_run, "scheduler=constant"]), run_dir=tmp_path / "files")
    shards = train(compose(packed_run), run_dir=tmp_path / "shards")
    assert shards["digest/trained"] == files["digest/trained"]
    same = [name for name in files if name.startswith("alignment")]
    assert {name: shards[name] for name in same} == {name: files[name] for name in same}
