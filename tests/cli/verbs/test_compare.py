import json
from pathlib import Path

import pytest
import yaml

from vtok.cli.verbs.compare import compare
from vtok.common.errors import UserError


def write_run(folder: Path, stride: int) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump({"tokeniser": {"stride": stride}}))
    (folder / "summary.json").write_text(json.dumps({"alignment/colour": 1 / stride, "steps": 10}))
    (folder / "status.json").write_text(json.dumps({"status": "finished"}))
    return folder


def test_a_list_of_runs_is_printed_and_written_to_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [str(write_run(tmp_path / "a", 2)), str(write_run(tmp_path / "b", 4))]
    before = set(tmp_path.rglob("*"))
    compare(runs=runs)
    assert "0.250" in capsys.readouterr().out
    assert set(tmp_path.rglob("*")) == before
    compare(runs=runs, metrics=["steps"], out=str(tmp_path / "out"))
    assert "tokeniser.stride  steps" in capsys.readouterr().out
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        f"comparison.{kind}" for kind in ("csv", "html", "md", "png")
    }


def test_sweep_folder(tmp_path: Path) -> None:
    for number, stride in enumerate([2, 4]):
        write_run(tmp_path / str(number), stride)
    # The written comparison is not a run of the sweep.
    for _ in range(2):
        compare(sweep=str(tmp_path))
        header, *rows = (tmp_path / "comparison" / "comparison.csv").read_text().splitlines()
        assert "tokeniser.stride" in header
        assert len(rows) == 2
    assert (tmp_path / "comparison" / "comparison.png").is_file()


def test_runs_are_found_as_by_the_other_verbs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A folder in ~, the checkpoint of a run, and the latest run."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name, stride in (("a", 2), ("b", 4), ("c", 5)):
        checkpoint = write_run(tmp_path / name, stride) / "checkpoints" / "10"
        checkpoint.mkdir(parents=True)
        (checkpoint / "state.json").touch()
    (tmp_path / "runs.txt").write_text(f"{tmp_path / 'c'}\n")
    compare(runs=["~/a", str(tmp_path / "b" / "checkpoints" / "10"), "latest"], outputs=str(tmp_path))
    shown = capsys.readouterr().out
    assert all(value in shown for value in ("0.500", "0.250", "0.200"))


def test_mistakes(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"absent is not a folder\. Use the folder of a sweep"):
        compare(sweep=str(tmp_path / "absent"))
    with pytest.raises(UserError, match="holds no run folder"):
        compare(sweep=str(tmp_path))
    run = str(write_run(tmp_path / "a", 2))
    with pytest.raises(UserError, match="takes two"):
        compare(runs=[run])
    with pytest.raises(UserError, match=r"runs=.*b is not a folder\. Use the folder of a run"):
        compare(runs=[run, str(tmp_path / "b")])
    with pytest.raises(UserError, match="is not a run folder"):
        compare(runs=[run, str(tmp_path)])
    (tmp_path / "mlflow_parent.json").write_text(
        json.dumps({"run_id": "a", "uri": f"sqlite:///{tmp_path}/gone.db", "experiment_id": "1"})
    )
    with pytest.raises(UserError, match="no longer exists"):
        compare(sweep=str(tmp_path))
    assert not (tmp_path / "gone.db").exists()
