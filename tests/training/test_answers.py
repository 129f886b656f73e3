"""The answers that a run writes: its metrics are made of them, and `vtok evaluate` writes the same ones."""

from pathlib import Path

import pytest

from vtok.cli.main import main
from vtok.config import compose
from vtok.evaluation.accuracy import accuracies_of, accuracy_metrics
from vtok.evaluation.answers import read_answers
from vtok.runs.answered import ANSWERS, VALIDATION_ANSWERS
from vtok.runs.folder import read_status
from vtok.training import train


def test_a_run_and_vtok_evaluate_write_the_same_answers(
    tiny_run: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    given = [*tiny_run, "trainer.max_steps=2", "trainer.evaluate_every=2", "trainer.ema_decay=0.5"]
    config = compose([*given, "tracking=mlflow", "tracking.system_metrics=false"])
    figures = train(config, run_dir=run)
    for split, name, prefix in (("test", ANSWERS, ""), ("validation", VALIDATION_ANSWERS, "validation/")):
        answers = read_answers(run / name)
        assert list(dict.fromkeys(one.clip for one in answers)) == [f"{split}-{number:06d}" for number in range(4)]
        assert {one.kind for one in answers} == {"choice", "yes_no", "caption"}
        metrics = accuracy_metrics(accuracies_of(answers))
        assert {name: figures[f"{prefix}{name}"] for name in metrics} == metrics
        out = tmp_path / f"{split}.parquet"
        assert main(["evaluate", f"run={run}", f"split={split}", f"out={out}"]) == 0
        shown = capsys.readouterr().out
        assert f"4 {split} clips" in shown
        assert "Choices are scored by evaluation.score=token. All questions: " in shown
        assert read_answers(out) == answers
        kept = Path(config.outputs) / "mlartifacts" / str(read_status(run)["mlflow_run_id"]) / "artifacts"
        assert (kept / name).read_bytes() == (run / name).read_bytes()
    assert figures["evaluation/score"] == "token"
    assert main(["evaluate", f"run={run}", "out=answers.json"]) == 1
    assert "must end in .parquet" in capsys.readouterr().err


def test_another_score_gives_the_accuracy_that_is_reported_for_it(tiny_run: list[str], tmp_path: Path) -> None:
    token = train(compose(tiny_run), run_dir=tmp_path / "token")
    prior = train(compose([*tiny_run, "evaluation.score=prior"]), run_dir=tmp_path / "prior")
    assert prior["evaluation/score"] == "prior"
    assert prior["alignment/colour"] == token["alignment/colour_by_prior"]
