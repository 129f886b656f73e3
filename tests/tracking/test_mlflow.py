import json
import logging
import math
import os
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

import vtok
from vtok.common.errors import UserError
from vtok.tracking.mlflow import MlflowTracker, clean_key, config_params
from vtok.tracking.revision import revision
from vtok.tracking.store import database_file
from vtok.training.run_log import record_outcome


def start(
    uri: str,
    config: dict[str, Any],
    *,
    name: str | None = None,
    parent_file: Path | None = None,
    run_id: str | None = None,
    system_metrics: bool = False,
) -> MlflowTracker:
    tracker = MlflowTracker(uri=uri, experiment="vtok", artifact_root=None, system_metrics=system_metrics)
    tracker.start(folder_of(uri), config, ["a=1"], name, parent_file, run_id)
    return tracker


def folder_of(uri: str) -> Path:
    database = database_file(uri)
    assert database is not None
    return database.parent / "run"


def test_a_run_from_start_to_finish(store_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_RUN_ID", "not-ours")
    config = {"tokeniser": {"stride": 6, "_target_": "vtok.X"}, "betas": [0.9, 0.95], "root": None, "on": True}
    tracker = start(store_uri, config, name="stride 6")
    tracker.metrics({"loss": 2.0, "alignment/colour": 0.25}, step=1)
    tracker.metrics({"loss": 1.0, "alignment/colour": math.nan}, step=2)
    sheet = tmp_path / "sheet.png"
    sheet.write_bytes(b"old")
    tracker.artifact(sheet, "samples")
    sheet.write_bytes(b"new")
    tracker.artifact(sheet, "samples")
    tracker.finish("FINISHED")
    tracker.finish("FAILED")

    run_id = tracker.run_id
    assert run_id is not None
    assert run_id != "not-ours"
    assert any("mlflow ui --backend-store-uri" in line for line in tracker.describe())
    client = MlflowClient(store_uri)
    run = client.get_run(run_id)
    assert (run.info.status, run.info.run_name) == ("FINISHED", "stride 6")
    assert run.data.params == {
        "tokeniser.stride": "6",
        "tokeniser._target_": "vtok.X",
        "betas": "[0.9, 0.95]",
        "root": "null",
        "on": "true",
    }
    assert run.data.tags["vtok.run_dir"] == str(folder_of(store_uri))
    assert run.data.tags.get("mlflow.source.git.commit") == revision(Path(vtok.__file__).parent).commit
    history = client.get_metric_history(run_id, "loss")
    assert [(metric.step, metric.value) for metric in sorted(history, key=lambda m: m.step)] == [(1, 2.0), (2, 1.0)]
    assert math.isnan(client.get_metric_history(run_id, "alignment/colour")[-1].value)
    artifacts = tmp_path / "mlartifacts" / run_id / "artifacts"
    assert yaml.safe_load((artifacts / "config.yaml").read_text()) == config
    assert yaml.safe_load((artifacts / "overrides.yaml").read_text()) == ["a=1"]
    assert (artifacts / "samples" / "sheet.png").read_bytes() == b"new"


def test_big_configs_and_odd_keys(store_uri: str) -> None:
    config: dict[str, Any] = {"many": {f"key{n}": n for n in range(250)}, "long": "x" * 7000, "a[0]": 1}
    tracker = start(store_uri, config)
    tracker.finish("FINISHED")
    assert tracker.run_id is not None
    params = MlflowClient(store_uri).get_run(tracker.run_id).data.params
    assert len(params) == 252
    assert params["many.key249"] == "249"
    assert len(params["long"]) == 6000
    assert params["a_0_"] == "1"


def test_many_metrics(store_uri: str) -> None:
    tracker = start(store_uri, {})
    for step in range(15):
        tracker.metrics({"loss": float(step)}, step)
    tracker.finish("FINISHED")
    assert tracker.run_id is not None
    assert len(MlflowClient(store_uri).get_metric_history(tracker.run_id, "loss")) == 15


def test_resume_continues_the_same_run(store_uri: str) -> None:
    first = start(store_uri, {"steps": 10, "seed": 0}, name="first")
    first.metrics({"loss": 2.0}, step=10)
    first.finish("KILLED")
    second = start(store_uri, {"steps": 20, "seed": 0, "new": 1}, run_id=first.run_id)
    client = MlflowClient(store_uri)
    assert second.run_id == first.run_id
    assert client.get_run(second.run_id).info.status == "RUNNING"
    second.metrics({"loss": 1.0}, step=20)
    second.finish("FINISHED")
    run = client.get_run(second.run_id)
    assert (run.info.status, run.info.run_name) == ("FINISHED", "first")
    assert run.data.params == {"steps": "10", "seed": "0", "new": "1"}
    assert {metric.step for metric in client.get_metric_history(second.run_id, "loss")} == {10, 20}


def test_resume_of_a_run_that_is_not_there(store_uri: str) -> None:
    with pytest.raises(UserError, match=r"0123456789abcdef.*tracking\.uri"):
        start(store_uri, {}, run_id="0123456789abcdef" * 2)
    deleted = start(store_uri, {})
    deleted.finish("FINISHED")
    MlflowClient(store_uri).delete_run(deleted.run_id)
    with pytest.raises(UserError, match="deleted"):
        start(store_uri, {}, run_id=deleted.run_id)


def test_a_run_is_a_child_of_its_sweep_only_in_the_same_store(store_uri: str, tmp_path: Path) -> None:
    parent_file = tmp_path / "mlflow_parent.json"
    for uri, expected in [(store_uri, "abc"), ("sqlite:////elsewhere.db", None)]:
        parent_file.write_text(json.dumps({"run_id": "abc", "uri": uri, "experiment_id": "1"}))
        child = start(store_uri, {}, parent_file=parent_file)
        child.finish("FINISHED")
        assert child.run_id is not None
        assert MlflowClient(store_uri).get_run(child.run_id).data.tags.get("mlflow.parentRunId") == expected


def test_system_metrics(store_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.05")
    tracker = start(store_uri, {}, system_metrics=True)
    client = MlflowClient(store_uri)
    assert tracker.run_id is not None
    # A busy machine may need seconds.
    for _ in range(600):
        names = client.get_run(tracker.run_id).data.metrics
        if "system/cpu_utilization_percentage" in names:
            break
        time.sleep(0.05)
    tracker.finish("FINISHED")
    assert "system/cpu_utilization_percentage" in client.get_run(tracker.run_id).data.metrics


def test_a_store_that_fails_during_a_run_does_not_stop_it(
    store_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tracker = start(store_uri, {})
    run_id = tracker.run_id
    assert run_id is not None

    def broken(*_: object, **__: object) -> None:
        raise MlflowException("the disk is full")

    MlflowClient(store_uri).delete_run(run_id)  # MLflow takes no metrics for a deleted run
    monkeypatch.setattr(MlflowClient, "log_artifact", broken)
    with caplog.at_level(logging.ERROR, logger="vtok.tracking"):
        tracker.metrics({"loss": 1.0}, step=1)
        tracker.artifact(tmp_path / "sheet.png", "samples")
        tracker.finish("FINISHED")
    logged = [record.getMessage() for record in caplog.records if record.name.startswith("vtok.tracking")]
    assert any("refused metrics, and they are not sent again" in line for line in logged)
    assert any("sheet.png" in line and "the disk is full" in line for line in logged)


def test_a_failed_start_is_reported_and_ends_the_run(store_uri: str) -> None:
    folder = folder_of(store_uri)
    folder.mkdir()
    (folder / "metrics.sent").write_text("abc")
    tracker = MlflowTracker(uri=store_uri, system_metrics=False)
    with pytest.raises(UserError, match=r"metrics\.sent must hold the number"), record_outcome(tracker, folder):
        tracker.start(folder, {}, [], None, None, None)
    assert tracker.run_id is not None
    assert MlflowClient(store_uri).get_run(tracker.run_id).info.status == "FAILED"


def test_a_start_with_an_unusable_artifact_folder(store_uri: str, tmp_path: Path) -> None:
    (tmp_path / "mlartifacts").write_text("a file")
    with pytest.raises(UserError, match=r"^The MLflow store tracking\.uri=\S+ refused the run \("):
        start(store_uri, {})


def test_failed_uploads_do_not_stop_a_run(store_uri: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tracker = start(store_uri, {})
    assert tracker.run_id is not None
    artifacts = tmp_path / "mlartifacts" / tracker.run_id / "artifacts"
    (artifacts / "bad").write_text("a file instead of a folder")
    sheet = tmp_path / "sheet.png"
    sheet.write_bytes(b"")
    with caplog.at_level(logging.ERROR, logger="vtok.tracking"):
        tracker.artifact(sheet, "bad")
        tracker.artifact(tmp_path / "late.png", "good")
        (tmp_path / "late.png").write_bytes(b"")
        tracker.finish("FINISHED")
    assert sum("sheet.png" in record.getMessage() for record in caplog.records) == 2
    assert (artifacts / "good" / "late.png").is_file()
    assert MlflowClient(store_uri).get_run(tracker.run_id).info.status == "FINISHED"


def test_nothing_happens_before_start() -> None:
    tracker = MlflowTracker(uri="http://127.0.0.1:9", experiment="vtok", artifact_root=None, system_metrics=False)
    assert tracker.run_id is None
    tracker.finish("FAILED")
    with pytest.raises(RuntimeError, match="start"):
        tracker.metrics({"loss": 1.0}, step=0)


def test_clean_key() -> None:
    assert clean_key("alignment/motion_direction") == "alignment/motion_direction"
    assert clean_key("layers[3]{x}'s") == "layers_3__x__s"


def test_a_parameter_that_is_not_utf8_is_escaped() -> None:
    (param,) = config_params({"root": os.fsdecode(b"caf\xe9\n")})
    assert param.value == "caf\\udce9\n"
