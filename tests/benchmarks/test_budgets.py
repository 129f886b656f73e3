"""`python benchmarks/budgets.py` on runs whose answers are there already."""

import json
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from vtok.cli.main import run_script
from vtok.evaluation.answers import Answer, write_answers

QUESTIONS = 8


def write_run(folder: Path, train_tokens: list[int], seed: int, right: dict[int, int], seconds: float) -> None:
    """A finished run that answers the first questions right, `right` of them at each budget."""
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump({"seed": seed, "tokeniser": {"train_tokens": train_tokens}}))
    (folder / "summary.json").write_text(json.dumps({"seconds": seconds}))
    for budget, number in right.items():
        answers = [
            Answer(
                *(f"clip {place}", f"clip {place}", "", "speed", "choice", "how fast?", ("fast", "slow"), (), (), ()),
                *("fast" if place < number else "slow", "fast", place < number, 0.5),
            )
            for place in range(QUESTIONS)
        ]
        (place := folder.parent / "budgets" / f"{folder.name}_{budget}").mkdir(parents=True)
        write_answers(answers, place / "answers.parquet")


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    for seed in (0, 1):
        write_run(tmp_path / f"{seed}0", [5], seed, {5: 4 + seed}, seconds=10.0)
        write_run(tmp_path / f"{seed}1", [20], seed, {20: 8}, seconds=30.0)
        write_run(tmp_path / f"{seed}2", [5, 20], seed, {5: 5, 20: 6}, seconds=25.0)
    return tmp_path


def test_one_model_for_all_is_compared_at_each_budget(
    budgets: ModuleType, sweep: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_script(budgets.budgets, [f"sweep={sweep}"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert rows[1][:4] == ["5", "56.2%", "62.5%", "+6.2"]
    assert rows[2][:4] == ["20", "100.0%", "75.0%", "-25.0"]
    assert rows[1][-2:] == [str(QUESTIONS), "2"]
    assert rows[3][-1] == "1.25"


def test_a_sweep_that_lacks_a_run_is_refused(
    budgets: ModuleType, sweep: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (sweep / "11" / "summary.json").unlink()
    assert run_script(budgets.budgets, [f"sweep={sweep}"]) == 1
    assert "no finished run of tokeniser.train_tokens=[20]" in capsys.readouterr().err
    for run in ("02", "12"):
        (sweep / run / "summary.json").unlink()
    assert run_script(budgets.budgets, [f"sweep={sweep}"]) == 1
    assert "0 sets of several budgets" in capsys.readouterr().err
