"""Runs on several data sets."""

from pathlib import Path

import pytest
import yaml

from vtok.cli.main import main
from vtok.config import compose
from vtok.training import train

AUGMENTED = "data/augmentation@data.sources.easy.augmentation=standard"


@pytest.fixture
def mixed_run(tiny_run: list[str]) -> list[str]:
    """Overrides of a tiny run on easy and hard clips."""
    made = ("data.train_clips", "data.validation_clips", "data.test_clips", "data.make_workers")
    sizes = [
        f"data.sources.{name}.{key}"
        for name in ("easy", "hard")
        for key in ("train_clips=9", "make_workers=1", "validation_clips=2", "test_clips=2")
    ]
    return ["recipe=shapes_mixture", *(item for item in tiny_run if not item.startswith(made)), *sizes]


def test_a_resumed_run_equals_an_uninterrupted_one(mixed_run: list[str], tmp_path: Path) -> None:
    settings = [*mixed_run, "scheduler=constant", "trainer.accumulate=2", AUGMENTED]
    whole = train(compose([*settings, "trainer.max_steps=5"]), run_dir=tmp_path / "whole")
    train(compose([*settings, "trainer.max_steps=2"]), run_dir=tmp_path / "cut")
    # The number of workers is free to change, in the mixture and in its sources.
    resumed = train(compose([*settings, "loader.num_workers=1", "trainer.max_steps=5", f"resume={tmp_path / 'cut'}"]))
    assert resumed["digest/trained"] == whole["digest/trained"]
    assert (whole["steps"], whole["data/bad_files"], whole["evaluation/clips"]) == (5, 0, 4)


def test_weights_decide_what_is_learnt_and_metrics_are_reported_by_source(mixed_run: list[str], tmp_path: Path) -> None:
    given = [*mixed_run, "trainer.max_steps=2"]
    one = train(compose(given), run_dir=tmp_path / "one")
    other = train(compose([*given, "data.weights.hard=30"]), run_dir=tmp_path / "other")
    assert one["digest/trained"] != other["digest/trained"]
    log = (tmp_path / "one" / "train.log").read_text()
    assert "MixtureData: 75.0% easy (9 clips), 25.0% hard (9 clips); 18 training, 4 validation and 4 test clips" in log
    asked = [one[f"alignment/{source}colour_questions"] for source in ("", "easy/", "hard/")]
    right = [one[f"alignment/{source}colour"] for source in ("", "easy/", "hard/")]
    assert asked[0] == asked[1] + asked[2] == 4
    assert right[0] * asked[0] == pytest.approx(right[1] * asked[1] + right[2] * asked[2])


def test_the_command_line_trains_and_its_run_is_used(mixed_run: list[str], tmp_path: Path, capsys) -> None:
    run = tmp_path / "run"
    assert main(["train", *mixed_run, "trainer.max_steps=1", f"hydra.run.dir={run}"]) == 0
    saved = yaml.safe_load((run / "config.yaml").read_text())
    assert {source["clip"]["num_frames"] for source in saved["data"]["sources"].values()} == {12}
    video = next((tmp_path / "outputs" / "data").rglob("test-*.mp4"))
    assert main(["describe", f"run={run}", f"video={video}", "max_new_tokens=2"]) == 0
    assert main(["evaluate", f"run={run}", "loader.batch_size=2", "evaluation.max_clips=2"]) == 0
    assert "alignment/hard/colour" in capsys.readouterr().out
    assert main(["export", f"run={run}", "part=model", f"out={tmp_path / 'exported'}"]) == 0
    assert main(["describe", f"run={tmp_path / 'exported'}", f"video={video}", "max_new_tokens=2"]) == 0
    card = (tmp_path / "exported" / "README.md").read_text()
    assert "On test clips of `shapes`" in card
