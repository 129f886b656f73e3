"""Sweeps: their runs and their parent run, interrupted sweeps, parallel jobs, and searches."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import ConfigCompositionException

from vtok.cli.main import main, resume_sweep
from vtok.common.overrides import quoted
from vtok.config.explain import explain
from vtok.runs.folder import read_status
from vtok.runs.sweep_folder import unfinished_sweep

ROOT = Path(__file__).resolve().parents[2]


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], cwd=cwd, capture_output=True, text=True, check=False)


def test_a_sweep_is_a_parent_with_its_runs(tiny_run: list[str], tmp_path: Path, command) -> None:
    from mlflow import MlflowClient

    settings = [item for item in tiny_run if item != "tracking=none"]
    settings += ["tracking.system_metrics=false", "tokeniser.stride=3,6", "hydra.sweep.dir=sweep"]
    swept = command("train", "-m", *settings)
    assert swept.code == 0, swept.err
    client = MlflowClient(f"sqlite:///{tmp_path / 'outputs' / 'mlflow.db'}")
    runs = client.search_runs([client.get_experiment_by_name("vtok").experiment_id])
    parent = json.loads((tmp_path / "sweep" / "mlflow_parent.json").read_text())["run_id"]
    children = [one for one in runs if one.data.tags.get("mlflow.parentRunId") == parent]
    assert {one.data.params["tokeniser.stride"] for one in children} == {"3", "6"}
    summary = json.loads((tmp_path / "sweep" / "0" / "summary.json").read_text())
    logged = next(one for one in children if one.data.params["tokeniser.stride"] == "3").data.metrics
    for name, value in summary.items():
        if isinstance(value, int | float):
            assert logged[name] == pytest.approx(value), name
    assert (tmp_path / "sweep" / "comparison" / "comparison.png").exists()


def test_a_failed_job_does_not_stop_the_others(tiny_run: list[str], tmp_path: Path, command) -> None:
    fails = ["optimiser=sgd", "scheduler.num_warmup_steps=0", "optimiser.lr=1e30,0.01"]
    swept = command("train", "-m", *tiny_run, *fails, "hydra.sweep.dir=sweep")
    assert swept.code == 1
    assert read_status(tmp_path / "sweep" / "1")["status"] == "finished"
    assert read_status(tmp_path / "sweep" / "0")["status"] == "failed"
    assert "optimiser.lr=... 'resume.allow=[optimiser.lr]'" in swept.err
    assert "Traceback" not in swept.err


def test_a_job_that_fails_before_training_has_a_status(tiny_run: list[str], tmp_path: Path, command) -> None:
    swept = command("train", "-m", *tiny_run, "seed=0,1", "resume=nowhere", "hydra.sweep.dir=sweep")
    assert swept.code == 1
    assert "error: resume=nowhere is not a folder" in swept.err
    assert "Traceback" not in swept.err
    assert [read_status(tmp_path / "sweep" / number)["status"] for number in ("0", "1")] == ["failed", "failed"]


def test_several_processes_are_refused(
    tiny_run: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main(["train", "-m", *tiny_run, "seed=0,1"]) == 1
    assert "torchrun" in capsys.readouterr().err


def test_a_sweep_in_a_folder_of_any_name_is_continued(tmp_path: Path) -> None:
    outputs = tmp_path / 'a, b="c" (1)'
    folder = outputs / "sweeps" / "first"
    folder.mkdir(parents=True)
    asked = [f"outputs={quoted(str(outputs))}", "seed=0,1"]
    sweeper = "hydra._internal.core_plugins.basic_sweeper.BasicSweeper"
    kept = {"hydra": {"overrides": {"task": asked}, "sweeper": {"_target_": sweeper}}}
    (folder / "multirun.yaml").write_text(json.dumps(kept))
    (there,) = OverridesParser.create().parse_overrides(resume_sweep(asked))
    assert (there.key_or_group, there.value(), there.is_sweep_override()) == ("hydra.sweep.dir", str(folder), False)


def test_an_interrupted_sweep_runs_its_unfinished_jobs(tiny_run: list[str], tmp_path: Path, command) -> None:
    """The unfinished job is resumed from its checkpoint, and the finished one is left alone."""
    arguments = ["train", "-m", *tiny_run, "loader.max_bad_fraction=0", "seed=0,1", "trainer.save_every=1"]
    whole = command(*arguments, f"hydra.sweep.dir={tmp_path / 'whole'}")
    assert whole.code == 0, whole.err
    assert (tmp_path / "whole" / "finished").exists()
    # As a killed process leaves it: status "running", and the checkpoints up to the second step.
    cut = tmp_path / "outputs" / "sweeps" / "cut"
    shutil.copytree(tmp_path / "whole", cut)
    (cut / "finished").unlink()
    shutil.rmtree(cut / "1" / "checkpoints" / "step-00000003")
    (cut / "1" / "summary.json").unlink()
    (cut / "1" / "status.json").write_text('{"status": "running", "mlflow_run_id": null}')
    before = (cut / "0" / "summary.json").stat().st_mtime_ns
    again = command(*arguments)
    assert again.code == 0, again.err
    assert "resuming the sweep in" in again.out
    assert "0 has already finished" in again.out
    assert "resumed from" in (cut / "1" / "train.log").read_text()
    assert (cut / "0" / "summary.json").stat().st_mtime_ns == before
    ends = [json.loads((folder / "1" / "summary.json").read_text()) for folder in (cut, tmp_path / "whole")]
    assert ends[0]["digest/trained"] == ends[1]["digest/trained"]
    assert (cut / "finished").exists()


def test_only_an_unfinished_sweep_of_the_same_command_is_continued(tmp_path: Path) -> None:
    def sweep(name: str, *task: str, sweeper: str = "hydra._internal.core_plugins.basic_sweeper.BasicSweeper") -> Path:
        folder = tmp_path / "sweeps" / name
        folder.mkdir(parents=True)
        content = {"hydra": {"overrides": {"task": list(task)}, "sweeper": {"_target_": sweeper}}}
        (folder / "multirun.yaml").write_text(json.dumps(content))
        return folder

    asked = ["seed=0,1", "hydra/launcher=joblib"]
    assert unfinished_sweep(asked, str(tmp_path)) is None
    unfinished = sweep("a", "seed=0,1")
    sweep("b", "seed=0,1,2")
    sweep("c", "seed=0,1", sweeper="hydra_plugins.hydra_optuna_sweeper.optuna_sweeper.OptunaSweeper")
    assert unfinished_sweep(asked, str(tmp_path)) == unfinished
    (unfinished / "finished").touch()
    assert unfinished_sweep(asked, str(tmp_path)) is None


@pytest.mark.slow
def test_jobs_of_a_sweep_run_side_by_side(tiny_run: list[str], tmp_path: Path) -> None:
    """Four processes at once, each with workers of its own, on a store that does not exist yet."""
    from mlflow import MlflowClient

    settings = [
        item for item in tiny_run if not item.startswith(("tracking=", "loader.num_workers", "data.make_workers"))
    ]
    settings += ["tracking.system_metrics=false", "loader.num_workers=1", "data.make_workers=2"]
    where = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=4", f"hydra.sweep.dir={tmp_path / 'sweep'}"]
    swept = run(str(ROOT / "train.py"), "-m", *settings, "seed=0,1,2,3", *where, cwd=tmp_path)
    assert swept.returncode == 0, swept.stderr
    client = MlflowClient(f"sqlite:///{tmp_path / 'outputs' / 'mlflow.db'}")
    runs = client.search_runs([client.get_experiment_by_name("vtok").experiment_id])
    parent = json.loads((tmp_path / "sweep" / "mlflow_parent.json").read_text())["run_id"]
    children = [one for one in runs if one.data.tags.get("mlflow.parentRunId") == parent]
    assert sorted(one.data.params["seed"] for one in children) == ["0", "1", "2", "3"]
    assert all(one.info.status == "FINISHED" and "train/loss" in one.data.metrics for one in children)


@pytest.mark.slow
def test_a_search_optimises_the_given_metric(tiny_run: list[str], tmp_path: Path) -> None:
    small = [
        "hydra.sweeper.n_trials=2",
        f"hydra.sweep.dir={tmp_path / 'sweep'}",
        "optimise=validation/alignment/colour",
    ]
    swept = run(str(ROOT / "train.py"), "sweep=search", *tiny_run, *small, cwd=tmp_path)
    assert swept.returncode == 0, swept.stderr
    found = [json.loads((tmp_path / "sweep" / name / "summary.json").read_text()) for name in ("0", "1")]
    assert f"Best value: {max(metrics['validation/alignment/colour'] for metrics in found)}" in swept.stdout


@pytest.mark.slow
def test_a_search_continues_after_a_failed_job(tiny_run: list[str], tmp_path: Path) -> None:
    fails = ["optimiser=sgd", "scheduler.num_warmup_steps=0", "tokeniser.stride=3", "optimiser.lr=choice(1e30,0.01)"]
    small = ["hydra.sweeper.n_trials=3", "hydra.sweeper.sampler.seed=10", "optimise=validation/alignment/colour"]
    where = f"hydra.sweep.dir={tmp_path / 'sweep'}"
    swept = run(str(ROOT / "train.py"), "sweep=search", *tiny_run, *fails, *small, where, cwd=tmp_path)
    assert swept.returncode == 0, swept.stderr
    ends = [read_status(tmp_path / "sweep" / str(number))["status"] for number in range(3)]
    # The first of these draws is the one that fails.
    assert ends[0] == "failed"
    assert "finished" in ends
    assert f"{ends.count('failed')} of 3 runs did not finish" in swept.stdout
    assert "Best parameters: {'optimiser.lr': 0.01}" in swept.stdout


@pytest.mark.slow
def test_a_search_for_an_unknown_metric_ends_at_its_first_job(tiny_run: list[str], tmp_path: Path) -> None:
    where = f"hydra.sweep.dir={tmp_path / 'sweep'}"
    swept = run(
        str(ROOT / "train.py"), "sweep=search", *tiny_run, where, "optimise=validation/alignment/color", cwd=tmp_path
    )
    assert swept.returncode == 1
    assert (
        "error: optimise=validation/alignment/color: unknown metric. Did you mean validation/alignment/colour?"
        in swept.stderr
    )
    assert "Traceback" not in swept.stderr
    assert not (tmp_path / "sweep" / "1").exists()


def test_a_launcher_that_is_not_installed_says_what_to_install() -> None:
    error = ConfigCompositionException("Could not find 'hydra/launcher/submitit_slurm'")
    assert (
        explain(error, ())
        == "hydra/launcher=submitit_slurm: this option is not installed. Install it with pip install 'vtok[slurm]'."
    )
