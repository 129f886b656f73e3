import json
from pathlib import Path

import pytest
import yaml
from matplotlib.image import imread

from vtok.cli.main import main
from vtok.evaluation.answers import Answer, write_answers


def write_run(folder: Path, stride: int, summary: dict[str, float] | None) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump({"tokeniser": {"stride": stride}}))
    if summary is not None:
        (folder / "summary.json").write_text(json.dumps(summary))
    return folder


def test_runs_and_the_latest_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    runs = [write_run(Path("outputs/sweeps/x", str(n)), n, {"alignment/colour": 1 / n}) for n in (2, 4)]
    Path("outputs/sweeps/x/multirun.yaml").touch()
    assert main(["report", "sweep=latest", "out=pages/sweep.html"]) == 0
    assert "pages/sweep.html (" in capsys.readouterr().out
    page = Path("pages/sweep.html").read_text()
    assert "<title>Sweep x</title>" in page
    assert "0.250" in page
    assert main(["report", f"runs=[{runs[0]}]", "out=one.html"]) == 0
    assert "<title>2</title>" in Path("one.html").read_text()


def answer(clip: str, category: str, kind: str = "choice") -> Answer:
    return Answer(
        clip=clip, group="", source="", category=category, kind=kind, question=f"what is the {category}?",
        choices=("red", "blue"), total=(0.0, -1.0), token=(0.0, -1.0), prior=(0.0, -1.0),
        answer="red", truth="blue", right=False, chance=0.5,
    )  # fmt: skip


def test_answers_of_different_categories_are_explained(make_run, tmp_path: Path, command) -> None:
    run_dir = make_run("data.train_clips=2", "data.test_clips=2", "data.validation_clips=1")
    (run_dir / "summary.json").write_text(json.dumps({"alignment/colour": 0.5}))
    first, second = "test-000000", "test-000001"
    asked = [("yes_no", "order", first), ("choice", "colour", first), ("choice", "colour", second)]
    asked += [("choice", "object", second), ("choice", "speed", second)]
    write_answers([answer(clip, category, kind) for kind, category, clip in asked], run_dir / "answers.parquet")
    ended = command("report", f"runs=[{run_dir}]", "explain=2", f"out={tmp_path / 'page.html'}")
    assert ended.code == 0, ended.err
    first_picture, second_picture = sorted(run_dir.glob("explained_*.png"))
    assert imread(second_picture).std() > 0.05
    page = (tmp_path / "page.html").read_text()
    assert page.count("<summary>") == 2
    assert "Tokens that answers used" in page
    assert command("report", f"runs=[{run_dir}]", "explain=1", f"out={tmp_path / 'page.html'}").code == 0
    assert list(run_dir.glob("explained_*.png")) == [first_picture]
    write_answers([answer("gone", "colour")], run_dir / "answers.parquet")
    ended = command("report", f"runs=[{run_dir}]", "explain=1", f"out={tmp_path / 'page.html'}")
    assert ended.code == 1
    assert "test clip gone is no longer in its data" in ended.err
    assert first_picture.is_file()


def test_mistakes_are_reported_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = write_run(tmp_path / "good", 2, {"alignment/colour": 0.5})
    without = write_run(tmp_path / "without", 2, None)
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    for arguments, message in (
        ([], "Set one of sweep=latest, sweep=DIR and runs=[A,B]"),
        ([f"runs=[{good}]", "sweep=latest"], "Set one of"),
        ([f"outputs={tmp_path}", "sweep=latest"], "has no sweep"),
        ([f"sweep={tmp_path / 'empty'}"], "holds no run folder"),
        ([f"runs=[{tmp_path / 'nowhere'}]"], "is not a folder"),
        ([f"runs=[{without}]"], "summary.json to compare"),
        ([f"runs=[{good}]", "metrics=[alignment/color]"], "Use alignment/colour."),
        ([f"runs=[{good}]", "out=page.txt"], "Use out=NAME.html"),
        ([f"runs=[{good}]", "embed_mb=-1"], "embed_mb=-1: must be a number >= 0"),
        ([f"runs=[{good}]", f"out={tmp_path / 'file' / 'x.html'}"], "cannot be written"),
    ):
        assert main(["report", *arguments]) == 1, arguments
        error = capsys.readouterr().err
        assert message in error
        assert len(error.strip().splitlines()) == 1
