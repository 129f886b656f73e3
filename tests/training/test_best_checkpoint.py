"""The best checkpoint, by a metric of the evaluations."""

import json
from pathlib import Path

import pytest

from vtok.common.errors import UserError
from vtok.config import compose
from vtok.training import train
from vtok.training.best_checkpoint import BestCheckpoint
from vtok.training.checkpoint import list_checkpoints


@pytest.mark.parametrize(("mode", "expected"), [("max", [1, 2, 2, 2]), ("min", [1, 1, 1, 4])])
def test_the_first_of_the_best_is_noted(mode: str, expected: list[int], tmp_path: Path) -> None:
    best = BestCheckpoint(tmp_path, metric="alignment/colour", mode=mode)
    assert best.step is None
    seen = []
    for step, value in enumerate((0.5, 0.75, 0.75, 0.25), start=1):
        best.update(step, {"alignment/colour": value})
        # Another object reads the note, as a resumed run does.
        seen.append(BestCheckpoint(tmp_path, metric="alignment/colour", mode=mode).step)
    assert seen == expected
    assert BestCheckpoint(tmp_path, metric="alignment/count", mode=mode).step is None


def test_an_unknown_metric_is_refused_with_the_nearest_one(tmp_path: Path) -> None:
    figures = {"alignment/colour": 0.5, "alignment/colour_low": 0.4}
    with pytest.raises(UserError, match=r"trainer.best_by=alignment/color is not .*Did you mean alignment/colour\?"):
        BestCheckpoint(tmp_path, metric="alignment/color", mode="max").update(1, figures)
    BestCheckpoint(tmp_path, metric=None, mode="max").update(1, figures)
    assert not list(tmp_path.iterdir())


def test_a_run_keeps_its_best_checkpoint_and_it_can_be_used(tiny_run: list[str], tmp_path: Path) -> None:
    from vtok.inference.load import load_run

    settings = ["trainer.max_steps=4", "trainer.evaluate_every=1", "trainer.keep_checkpoints=1"]
    # More and more clips are answered: the first step is the one with the least.
    by = ["trainer.best_by=evaluation/clips", "trainer.best_is=max"]
    train(compose([*tiny_run, *settings, *by]), run_dir=tmp_path / "run")
    checkpoints = tmp_path / "run" / "checkpoints"
    assert json.loads((checkpoints / "best.json").read_text())["step"] == 1
    assert [path.name for path in list_checkpoints(checkpoints)] == ["step-00000001", "step-00000004"]
    run_dir, _, model = load_run(str(checkpoints / "step-00000001"), outputs="none")
    _, _, last = load_run(str(tmp_path / "run"), outputs="none")
    assert run_dir == tmp_path / "run"
    assert any((a != b).any() for a, b in zip(model.parameters(), last.parameters(), strict=True))


def test_best_by_without_evaluations_is_refused(tiny_run: list[str]) -> None:
    with pytest.raises(UserError, match=r"trainer.best_by=alignment/colour: .*Set trainer.evaluate_every=N"):
        train(compose([*tiny_run, "trainer.best_by=alignment/colour"]))
