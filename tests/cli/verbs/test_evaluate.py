"""vtok evaluate on another data set than the run's own."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from vtok.cli.main import main
from vtok.common.paths import experiments_dir

QUESTIONS = experiments_dir() / "questions" / "real_clips.jsonl"


def evaluate(run_dir: Path, *overrides: str) -> int:
    return main(["evaluate", f"run={run_dir}", "data=folder", *overrides])


def test_a_run_on_synthetic_clips_is_evaluated_on_real_ones(
    understanding_run: Path, clips_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [f"data.root={clips_dir}", f"data.manifest={QUESTIONS}", "clip.fps=4", "loader.num_workers=0"]
    assert evaluate(understanding_run, *given) == 0
    shown = capsys.readouterr().out
    rows = [json.loads(line) for line in QUESTIONS.read_text(encoding="utf-8").splitlines()]
    asked = [
        question["category"] for row in rows for question in row["questions"] if question["choices"] != ["yes", "no"]
    ]
    for category in set(asked):
        line = next(line for line in shown.splitlines() if line.startswith(f"alignment/{category} "))
        assert f" {asked.count(category)} " in line, "before the shares by each score"
    assert f"{len(rows)} test clips" in shown
    assert "alignment_yes_no/object" in shown


def test_a_missing_root_is_reported(understanding_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate(understanding_run) == 1
    assert "Set data.root=PATH" in capsys.readouterr().err


def test_a_run_that_generates_videos_is_evaluated_on_real_clips(
    joint_run: Path, clips_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [f"data.root={clips_dir}", f"data.manifest={QUESTIONS}", "loader.num_workers=0", "evaluation.max_clips=2"]
    assert evaluate(joint_run, *given) == 1
    assert "Use generation/judge=own for other clips" in capsys.readouterr().err
    assert evaluate(joint_run, *given, "generation/judge=own") == 0
    shown = capsys.readouterr()
    assert "alignment/" in shown.out
    # The questions have no captions to generate from, which is reported.
    assert "has a caption and can be judged by generation/judge=own" in shown.err


def test_questions_without_choices_are_counted_or_an_error_if_there_are_no_others(
    understanding_run: Path, make_video: Callable, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        {"video": f"{name}.mp4", "question": "what?", "answer": "a ball", "split": split}
        for name, split in (("a", "train"), ("b", "val"), ("c", "val"))
    ]
    for row in rows:
        make_video(tmp_path / row["video"], 12)
    manifest = tmp_path / "manifest.jsonl"
    manifest.write_text("\n".join(map(json.dumps, rows)))
    given = [f"data.root={tmp_path}", "loader.num_workers=0"]
    assert evaluate(understanding_run, *given) == 1
    said = capsys.readouterr()
    assert "none of the 2 test clips has a question with choices" in said.err
    assert "alignment" not in said.out
    asked = {
        "video": "b.mp4",
        "question": "which?",
        "answer": "B",
        "options": {"A": "red", "B": "blue"},
        "split": "val",
    }
    manifest.write_text("\n".join(map(json.dumps, [*rows, asked])))
    assert evaluate(understanding_run, *given) == 0
    said = capsys.readouterr()
    assert "2 questions about the 2 held-out clips have no choices" in said.err
    assert "1" in next(line for line in said.out.splitlines() if line.startswith("alignment/general ")).split()


def test_files_that_are_missing_are_reported_before_the_model_works(
    understanding_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "manifest.jsonl").write_text('{"video": "gone.mp4", "caption": "a dog", "split": "test"}\n')
    monkeypatch.setattr("vtok.cli.verbs.evaluate.evaluate_model", None)
    assert evaluate(understanding_run, f"data.root={tmp_path}") == 1
    assert "gone.mp4: the file does not exist" in capsys.readouterr().err
