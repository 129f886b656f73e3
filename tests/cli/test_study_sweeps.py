"""Sweeps of a study, several at a time."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from vtok.cli import study_sweeps
from vtok.cli.study_sweeps import log_of, run_sweeps
from vtok.common.errors import UserError
from vtok.runs.mlflow_parent import Parent, read_parent

# A sweep that waits until as many run beside it as its first argument says. The last one is hydra.sweep.dir=FOLDER.
SWEEP = """
import json, os, sys, time
from pathlib import Path
folder = Path(sys.argv[-1].partition("=")[2])
folder.mkdir(parents=True, exist_ok=True)
(folder / "begun").touch()
beside = int(sys.argv[1].partition("=")[2])
end = time.monotonic() + 60
while len(list(folder.parent.glob("*/begun"))) < beside and time.monotonic() < end:
    time.sleep(0.05)
print("so much")
running = len(list(folder.parent.glob("*/begun"))) - len(list(folder.parent.glob("*/ended.json")))
(folder / "ended.json").write_text(json.dumps([running, sys.argv[2:], os.environ.get("OMP_NUM_THREADS")]))
sys.exit(int("fails" in folder.name))
"""


@pytest.fixture
def fake_sweeps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study_sweeps, "sweep_command", lambda arguments: [sys.executable, "-c", SWEEP, *arguments])
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)


def nothing(_: Path) -> dict[Path, list[str]]:
    """No sweep comes next."""
    return {}


def ended(folder: Path) -> tuple[int, list[str], str | None]:
    running, arguments, threads = json.loads((folder / "ended.json").read_text())
    return running, arguments, threads


@pytest.mark.usefixtures("fake_sweeps")
def test_one_sweep_after_the_other(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folders = [tmp_path / name for name in ("a", "b")]
    run_sweeps({folder: ["beside=1", f"x={folder.name}"] for folder in folders}, parent=None, jobs=1, then=nothing)
    for folder in folders:
        assert ended(folder) == (1, [f"x={folder.name}", f"hydra.sweep.dir={folder}"], None)
        assert read_parent(folder) is None
    assert capfd.readouterr().out.count("so much") == 2


@pytest.mark.usefixtures("fake_sweeps")
def test_two_sweeps_at_a_time(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folders = [tmp_path / name for name in ("a", "b", "c")]
    parent = Parent(uri="sqlite:///a", experiment_id="1", run_id="r", of_study=True)
    run_sweeps({folder: ["beside=2"] for folder in folders}, parent=parent, jobs=2, then=nothing)
    assert max(ended(folder)[0] for folder in folders) == 2
    shown = capfd.readouterr().out
    for folder in folders:
        assert ended(folder)[2] == str(max(1, (os.cpu_count() or 1) // 2))
        assert log_of(folder).read_text() == "so much\n"
        assert f"hydra.sweep.dir={folder} > {log_of(folder)}" in shown
        assert f"finished: {folder}" in shown
        assert read_parent(folder) == parent


@pytest.mark.usefixtures("fake_sweeps")
def test_what_follows_a_sweep_comes_before_the_others(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def then(folder: Path) -> dict[Path, list[str]]:
        return {tmp_path / "after": ["beside=1"]} if folder.name == "a" else {}

    run_sweeps({tmp_path / name: ["beside=1"] for name in ("a", "b")}, parent=None, jobs=1, then=then)
    shown = capfd.readouterr().out
    assert [shown.index(f"hydra.sweep.dir={tmp_path / name}\n") for name in ("a", "after", "b")] == sorted(
        shown.index(f"hydra.sweep.dir={tmp_path / name}\n") for name in ("a", "after", "b")
    )
    assert shown.count("so much") == 3


@pytest.mark.usefixtures("fake_sweeps")
def test_threads_that_were_set_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    run_sweeps({tmp_path / "a": ["beside=1"]}, parent=None, jobs=2, then=nothing)
    assert ended(tmp_path / "a")[2] == "7"


@pytest.mark.usefixtures("fake_sweeps")
def test_no_sweep_begins_after_a_failure(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("fails", "b")]
    with pytest.raises(UserError, match=r"fails: this sweep has failed or was stopped\. Read its message, then start"):
        run_sweeps({folder: ["beside=1"] for folder in folders}, parent=None, jobs=1, then=nothing)
    assert not folders[1].exists()


@pytest.mark.usefixtures("fake_sweeps")
def test_no_sweep_begins_after_a_check_that_finds_a_mistake(tmp_path: Path) -> None:
    folders, checked = [tmp_path / name for name in ("a", "fails", "b")], list[Path]()

    def check(folder: Path) -> dict[Path, list[str]]:
        checked.append(folder)
        raise UserError("no such metric")

    with pytest.raises(UserError, match="no such metric"):
        run_sweeps({folder: ["beside=1"] for folder in folders}, parent=None, jobs=1, then=check)
    assert checked == folders[:1]
    assert not folders[1].exists()
    with pytest.raises(UserError, match="has failed"):
        run_sweeps({folders[1]: ["beside=1"]}, parent=None, jobs=1, then=check)
    assert checked == folders[:1]


@pytest.mark.usefixtures("fake_sweeps")
def test_a_sweep_beside_one_that_fails_runs_to_its_end(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folders = [tmp_path / name for name in ("fails", "b")]
    with pytest.raises(UserError, match=r"fails: this sweep has failed or was stopped\. Read .*fails\.log, then start"):
        run_sweeps({folder: ["beside=2"] for folder in folders}, parent=None, jobs=2, then=nothing)
    assert (folders[1] / "ended.json").exists()
    shown = capfd.readouterr().out
    assert f"failed: {folders[0]}" in shown
    assert f"finished: {folders[1]}" in shown


@pytest.mark.parametrize("kind", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_study_stops_its_sweeps_and_begins_no_other(tmp_path: Path, kind: signal.Signals) -> None:
    """Stopped sweeps save a checkpoint, and end with 143."""
    script = f"""
from pathlib import Path
import signal, sys
from vtok.cli import study_sweeps
from vtok.common.errors import UserError
# A shell starts processes in the background with SIGINT ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
code = (
    "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: (print('saved', flush=True), sys.exit(143)));"
    "print('begun', flush=True); time.sleep(600)"
)
study_sweeps.sweep_command = lambda arguments: [sys.executable, "-c", code]
folder = Path({str(tmp_path)!r})
try:
    study_sweeps.run_sweeps({{folder / name: [] for name in "abc"}}, parent=None, jobs=2, then=dict)
except UserError as error:
    print(error)
"""
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    logs = [log_of(tmp_path / name) for name in "ab"]
    while not all(log.exists() and log.read_text() for log in logs):
        assert process.poll() is None
    process.send_signal(kind)
    shown = process.communicate()[0]
    assert [log.read_text() for log in logs] == ["begun\nsaved\n"] * 2
    assert not log_of(tmp_path / "c").exists()
    assert ("The study was stopped. Resume it with the same command." in shown) is (kind == signal.SIGTERM)
