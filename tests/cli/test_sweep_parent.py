"""Real sweeps of a small Hydra program, in processes of their own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from mlflow import MlflowClient
from omegaconf import open_dict

from vtok.cli.sweep_parent import sweep_name
from vtok.tracking.store import database_file

CONFIG = """
stride: 6
extra: 0
tracking: {_target_: vtok.tracking.mlflow.MlflowTracker, uri: URI, experiment: vtok, artifact_root: null}
hydra:
  callbacks: {sweep_parent: {_target_: vtok.cli.sweep_parent.SweepParent}}
  sweep: {dir: sweep}
"""

PROGRAM = """
import json
from pathlib import Path
import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

@hydra.main(version_base=None, config_path=".", config_name="config")
def main(cfg):
    folder = Path(HydraConfig.get().runtime.output_dir)
    OmegaConf.save(cfg, folder / "config.yaml")
    OmegaConf.save(HydraConfig.get().overrides.task, folder / "overrides.yaml")
    if cfg.stride == 9:
        raise ValueError("nine")
    (folder / "summary.json").write_text(json.dumps({"alignment/colour": 1 / cfg.stride}))
    (folder / "status.json").write_text(json.dumps({"status": "finished", "mlflow_run_id": f"id{cfg.stride}"}))

main()
"""


@pytest.fixture
def program(tmp_path: Path, store_uri: str) -> Path:
    (tmp_path / "config.yaml").write_text(CONFIG.replace("URI", store_uri))
    (tmp_path / "program.py").write_text(PROGRAM)
    return tmp_path / "program.py"


def sweep(program: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, program.name, "-m", *overrides],
        cwd=program.parent,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


@pytest.mark.slow
def test_sweep_has_a_parent_with_the_comparison(program: Path, store_uri: str) -> None:
    done = sweep(program, "stride=2,4")
    assert done.returncode == 0, done.stderr
    assert "0.250" in done.stdout
    assert "#/compare-runs?runs=%5B%22id2%22%2C%20%22id4%22%5D&experiments=%5B%221%22%5D" in done.stdout
    folder = program.parent / "sweep"
    written = json.loads((folder / "mlflow_parent.json").read_text())
    client = MlflowClient(store_uri)
    parent = client.get_run(written["run_id"])
    assert written == {"run_id": parent.info.run_id, "uri": store_uri, "experiment_id": parent.info.experiment_id}
    assert (parent.info.run_name, parent.info.status) == ("stride=2,4", "FINISHED")
    kept = program.parent / "mlartifacts" / parent.info.run_id / "artifacts"
    files = {str(path.relative_to(kept)) for path in kept.rglob("*") if path.is_file()}
    assert files == {"multirun.yaml"} | {f"comparison/comparison.{kind}" for kind in ("csv", "html", "md", "png")}

    # The same folder again: the same parent.
    assert sweep(program, "stride=2,4").returncode == 0
    assert json.loads((folder / "mlflow_parent.json").read_text()) == written


def test_failed_job_is_listed_and_the_sweep_fails(program: Path, store_uri: str) -> None:
    done = sweep(program, "stride=2,9", "+name=x")
    assert done.returncode == 1
    assert "no metrics: sweep/1 (stride=9 +name=x)" in done.stdout
    assert "0.500" in done.stdout
    written = json.loads((program.parent / "sweep" / "mlflow_parent.json").read_text())
    assert MlflowClient(store_uri).get_run(written["run_id"]).info.status == "FAILED"


@pytest.mark.slow
def test_sweep_without_mlflow_is_compared_too(program: Path, store_uri: str) -> None:
    database = database_file(store_uri)
    assert database is not None
    database.unlink()
    done = sweep(program, "stride=2,4", "~tracking.uri")
    assert done.returncode == 0, done.stderr
    assert "0.250" in done.stdout
    assert not (program.parent / "sweep" / "mlflow_parent.json").exists()
    assert not database.exists()


def test_store_out_of_reach_stops_the_sweep_before_its_first_job(program: Path) -> None:
    done = sweep(program, "stride=2,4", "tracking.uri=http://127.0.0.1:9")
    assert done.returncode == 1
    assert "tracking=none" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (program.parent / "sweep").exists()


def test_name_of_a_sweep(tmp_path: Path) -> None:
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / "stride.yaml").write_text(
        "# @package _global_\nhydra: {mode: MULTIRUN, sweeper: {params: {stride: '3,6'}}}\n"
    )
    (tmp_path / "config.yaml").write_text("defaults: [_self_, {optional sweep: null}]\nstride: 6\nseed: 0\n")
    with initialize_config_dir(version_base=None, config_dir=str(tmp_path)):
        named = compose("config", overrides=["sweep=stride"], return_hydra_config=True)
        typed = compose("config", overrides=["seed=1"], return_hydra_config=True)
    assert sweep_name(named) == "stride"
    with open_dict(typed):
        typed.hydra.overrides.task = ["stride=3,6", "seed=1"]
    assert sweep_name(typed) == "stride=3,6"
