"""A run's model in MLflow, loaded with MLflow's own functions."""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import mlflow
import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from vtok.cli.main import main
from vtok.cli.verbs.describe import describe
from vtok.common.errors import UserError
from vtok.config import check, compose
from vtok.runs.folder import read_status
from vtok.training import train

LOAD = """
import sys, mlflow
uri, address, *videos = sys.argv[1:]
mlflow.set_tracking_uri(uri)
model = mlflow.pyfunc.load_model(address)
print("answers", model.predict(videos, params={"max_new_tokens": 4}))
"""


@pytest.fixture
def tracked_run(tiny_run: list[str], store_uri: str, tmp_path: Path):
    """Trains a run with further overrides, tracked in the test's own store; returns its folder."""

    def run(*overrides: str) -> Path:
        mlflow_to = ["tracking=mlflow", f"tracking.uri={store_uri}", "tracking.system_metrics=false"]
        settings = [item for item in tiny_run if item != "tracking=none"]
        train(compose([*settings, *mlflow_to, *overrides]), run_dir=tmp_path / "a run")
        return tmp_path / "a run"

    return run


def test_a_registered_model_gives_the_answers_of_the_run(
    tracked_run, store_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # If another store than the run's were used, MLflow would create it here.
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    run_dir = tracked_run("tracking.register_model=captioner", "data.limit=4", "seed=3")
    client = MlflowClient(store_uri)
    version = client.get_model_version("captioner", "1")
    run_id = read_status(run_dir)["mlflow_run_id"]
    assert version.run_id == run_id
    outputs = client.get_run(run_id).outputs.model_outputs
    assert [one.step for one in outputs] == [3]
    assert version.source == client.get_logged_model(outputs[0].model_id).artifact_location

    videos = [str(path) for path in sorted((tmp_path / "outputs" / "data").rglob("test-*.mp4"))[:2]]
    folder = Path(client.get_logged_model(outputs[0].model_id).artifact_location.removeprefix("file://"))
    model = mlflow.pyfunc.load_model(str(folder))
    asked = {"prompt": "what color is the object?", "max_new_tokens": 4}
    assert model.predict(videos[:1], params=asked) == [describe(video=videos[0], run=str(run_dir), **asked)]
    answers = model.predict(pd.DataFrame({"video": videos}), params=asked)
    assert answers == [describe(video=video, run=str(run_dir), **asked) for video in videos]
    # Loading the model compiles its code beside it.
    files = {path for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc"}
    assert not [path for path in files if path.suffix in (".pkl", ".pickle", ".pt", ".pth", ".bin")]
    for path in files - {path for path in files if path.suffix == ".safetensors"}:
        text = path.read_text(encoding="utf-8")
        assert str(tmp_path) not in text, path
        assert str(Path(__file__).parents[2]) not in text, path
        assert "/tmp" not in text, path
    assert not list((tmp_path / "here").iterdir())


@pytest.mark.slow
def test_a_fresh_process_has_a_registered_model_by_its_name(tracked_run, store_uri: str, tmp_path: Path) -> None:
    run_dir = tracked_run("tracking.register_model=captioner")
    videos = [str(path) for path in sorted((tmp_path / "outputs" / "data").rglob("test-*.mp4"))[:2]]
    truth = [describe(video=video, run=str(run_dir), max_new_tokens=4) for video in videos]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    fresh = subprocess.run(
        [sys.executable, "-c", LOAD, store_uri, "models:/captioner/1", *videos],
        env=environment, cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert fresh.stdout.splitlines()[-1] == f"answers {truth}"


def test_a_model_is_logged_without_a_name_and_registered_later(
    tracked_run, store_uri: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir = tracked_run("tracking.log_model=true")
    client, run_id = MlflowClient(store_uri), read_status(run_dir)["mlflow_run_id"]
    assert len(client.get_run(run_id).outputs.model_outputs) == 1
    assert not client.search_registered_models()
    for number in (1, 2):
        assert main(["register", f"run={run_dir}", "name=later"]) == 0
        assert f'mlflow.pyfunc.load_model("models:/later/{number}")' in capsys.readouterr().out
    assert [one.version for one in client.search_model_versions("name='later'")] == [2, 1]


def test_a_run_is_found_in_its_store_from_another_working_directory(
    tracked_run, store_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def add_metric(step: int) -> None:
        with (run_dir / "metrics.jsonl").open("a") as file:
            file.write(json.dumps([["late", 0.5, 1234, step]]) + "\n")

    def refused(*verb: str) -> str:
        assert main([*verb, f"run={run_dir}"]) == 1
        assert not list(elsewhere.rglob("*"))
        return capsys.readouterr().err

    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(tmp_path)
    run_dir = tracked_run("tracking.uri=sqlite:///mlflow.db")
    monkeypatch.chdir(elsewhere)
    status = read_status(run_dir)
    add_metric(98)
    assert main(["sync", f"run={run_dir}"]) == 0
    assert main(["register", f"run={run_dir}", "name=found"]) == 0
    client = MlflowClient(store_uri)
    assert [point.step for point in client.get_metric_history(status["mlflow_run_id"], "late")] == [98]
    assert client.get_model_version("found", "1").run_id == status["mlflow_run_id"]
    add_metric(99)

    # If the store does not hold the run, nothing is sent or retried.
    (run_dir / "status.json").write_text(json.dumps(status | {"mlflow_run_id": "another"}))
    assert "was tracked as another, and the MLflow store" in refused("sync")

    # As on another machine.
    (run_dir / "status.json").write_text(json.dumps(status))
    (tmp_path / "mlflow.db").rename(tmp_path / "moved.db")
    for verb in ("sync", "register"):
        assert f"was tracked in {store_uri}, which no longer exists. Move it back, or write" in refused(verb)
    assert not (tmp_path / "mlflow.db").exists()
    (run_dir / "status.json").write_text(json.dumps(status | {"mlflow_uri": f"sqlite:///{tmp_path}/moved.db"}))
    assert main(["sync", f"run={run_dir}"]) == 0
    client = MlflowClient(f"sqlite:///{tmp_path}/moved.db")
    assert [point.step for point in client.get_metric_history(status["mlflow_run_id"], "late")] == [98, 99]


def test_a_run_finishes_if_the_store_refuses_its_model(
    tracked_run, store_uri: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object, **__: object) -> None:
        raise MlflowException("the disk is full")

    monkeypatch.setattr(MlflowClient, "log_model_artifacts", full)
    with caplog.at_level(logging.ERROR, logger="vtok.tracking"):
        run_dir = tracked_run("tracking.register_model=mine")
    advice = f"The run is complete. Log the model with: vtok register 'run={run_dir}' name=mine"
    assert f"(the disk is full). {advice}" in caplog.text
    assert read_status(run_dir)["status"] == "finished"
    client, run_id = MlflowClient(store_uri), read_status(run_dir)["mlflow_run_id"]
    assert client.get_run(run_id).info.status == "FINISHED"
    assert not client.search_registered_models()
    assert main(["register", f"run={run_dir}"]) == 1
    monkeypatch.undo()
    assert main(["register", f"run={run_dir}"]) == 0


def test_a_run_without_a_store_or_without_answers_cannot_be_registered(tiny_run: list[str], tmp_path: Path) -> None:
    untracked = tmp_path / "run"
    train(compose(tiny_run), run_dir=untracked)
    assert main(["register", f"run={untracked}"]) == 1
    for override in ("tracking.log_model=true", "tracking.register_model=a"):
        with pytest.raises(UserError, match=rf"^{override}: .*objective.lambda_under=0"):
            check(compose([*tiny_run, "tracking=mlflow", "objective=generation", override]))
