"""Sweeps of a study, several at a time."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from vtok.cli import study_sweeps
from vtok.cli.study_sweeps import log_of, run_sweeps
from vtok.common.errors import UserError
from vtok.runs.report import Parent, read_parent, write_parent

# A sweep that notes when it runs. The first argument is its code, the last one is hydra.sweep.dir=FOLDER.
NOTES = """
import json, sys, time
from pathlib import Path
folder = Path(sys.argv[-1].partition("=")[2])
(folder / "0").mkdir(parents=True)
begun = time.time()
time.sleep(0.5)
(folder / "0" / "config.yaml").touch()
time.sleep(0.5)
print("so much")
(folder / "times.json").write_text(json.dumps([begun, time.time(), sys.argv[1:]]))
sys.exit(int("fails" in folder.name))
"""


@pytest.fixture
def fake_sweeps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study_sweeps, "sweep_command", lambda arguments: [sys.executable, "-c", NOTES, *arguments])


def times(folder: Path) -> tuple[float, float, list[str]]:
    begun, ended, arguments = json.loads((folder / "times.json").read_text())
    return begun, ended, arguments


@pytest.mark.usefixtures("fake_sweeps")
@pytest.mark.parametrize("jobs", [1, 2, 6])
def test_no_more_runs_at_a_time_than_asked_and_the_first_one_begins_alone(
    jobs: int, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folders = [tmp_path / name for name in ("a", "b", "c")]
    run_sweeps({folder: [f"x={folder.name}"] for folder in folders}, study_dir=tmp_path, jobs=jobs)
    ran = [times(folder) for folder in folders]
    at_once = [sum(begun <= other < ended for begun, ended, _ in ran) for other, *_ in ran]
    assert max(at_once) == min(jobs, 3)
    # A sweep without a parent run lets the others begin with its own first run.
    assert ran[1][0] >= ran[0][0] + 0.5
    launcher = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"] if jobs == 6 else []
    assert ran[0][2] == ["x=a", *launcher, f"hydra.sweep.dir={folders[0]}"]
    shown = capfd.readouterr().out
    assert shown.count("vtok train -m x=") == 3
    printed = [log_of(folder).read_text() for folder in folders] if jobs > 1 else shown.splitlines()
    assert sum("so much" in one for one in printed) == 3


@pytest.mark.usefixtures("fake_sweeps")
def test_all_sweeps_have_the_first_ones_parent(tmp_path: Path) -> None:
    parent = Parent(uri="sqlite:///a", experiment_id="1", run_id="r")
    write_parent(tmp_path / "a", parent)
    run_sweeps({tmp_path / name: [] for name in ("a", "b")}, study_dir=tmp_path, jobs=2)
    assert read_parent(tmp_path) == read_parent(tmp_path / "b") == parent


@pytest.mark.usefixtures("fake_sweeps")
def test_a_failure_is_named_and_no_other_sweep_begins(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("fails", "b", "c")]
    with pytest.raises(UserError, match=r"fails: this sweep has failed or was stopped\. .*fails\.log says why"):
        run_sweeps({folder: [] for folder in folders}, study_dir=tmp_path, jobs=2)
    assert (folders[1] / "times.json").exists()
    assert not folders[2].exists()


def test_a_stopped_study_stops_its_sweeps(tmp_path: Path) -> None:
    script = f"""
import sys; from pathlib import Path
from vtok.cli import study_sweeps
from vtok.common.errors import UserError
code = "import sys, time; print('begun', flush=True); time.sleep(600)"
study_sweeps.sweep_command = lambda arguments: [sys.executable, "-c", code]
try:
    study_sweeps.run_sweeps({{Path({str(tmp_path / "a")!r}): []}}, study_dir=Path({str(tmp_path)!r}), jobs=1)
except UserError as error:
    print(error)
"""
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert [process.stdout.readline() for _ in range(3)][-1] == "begun\n"
    process.send_signal(signal.SIGTERM)
    assert "this sweep has failed or was stopped. Read its message." in process.communicate()[0]
