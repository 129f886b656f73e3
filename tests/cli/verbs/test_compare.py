import json
from pathlib import Path

import pytest
import yaml

from vtok.cli.verbs.compare import compare_runs
from vtok.common.errors import UserError


def write_run(folder: Path, stride: int) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump({"tokeniser": {"stride": stride}}))
    (folder / "summary.json").write_text(json.dumps({"alignment/colour": 1 / stride, "steps": 10}))
    (folder / "status.json").write_text(json.dumps({"status": "finished"}))
    return folder


def test_a_list_of_runs_is_printed_and_written_to_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [write_run(tmp_path / "a", 2), write_run(tmp_path / "b", 4)]
    before = set(tmp_path.rglob("*"))
    compare_runs(runs)
    assert "0.250" in capsys.readouterr().out
    assert set(tmp_path.rglob("*")) == before
    compare_runs(runs, metrics=["steps"], out=tmp_path / "out")
    assert "tokeniser.stride  steps" in capsys.readouterr().out
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        f"comparison.{kind}" for kind in ("csv", "html", "md", "png")
    }


def test_sweep_folder(tmp_path: Path) -> None:
    for number, stride in enumerate([2, 4]):
        write_run(tmp_path / str(number), stride)
    comparison = compare_runs(tmp_path)
    assert comparison.settings == {"tokeniser.stride": [2, 4]}
    assert (tmp_path / "comparison" / "comparison.png").is_file()
    # The written comparison is no run of the sweep.
    assert len(compare_runs(tmp_path).runs) == 2


def test_mistakes(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no run folder"):
        compare_runs(tmp_path / "absent")
    run = write_run(tmp_path / "a", 2)
    with pytest.raises(UserError, match="takes two"):
        compare_runs([run])
    with pytest.raises(UserError, match="is not a run folder"):
        compare_runs([run, tmp_path / "b"])
    (tmp_path / "mlflow_parent.json").write_text(
        json.dumps({"run_id": "a", "uri": f"sqlite:///{tmp_path}/gone.db", "experiment_id": "1"})
    )
    with pytest.raises(UserError, match="no longer exists"):
        compare_runs(tmp_path)
    assert not (tmp_path / "gone.db").exists()
