"""Sending metrics to a store that cannot be reached for a while, during a run and at its end."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INTERNAL_ERROR, INVALID_PARAMETER_VALUE

from vtok.tracking import sender
from vtok.tracking.mlflow import MlflowTracker
from vtok.tracking.sender import Sender, read_lines, sent_lines


class Store:
    """Refuses the first `failures` batches."""

    def __init__(self, *, failures: int = 0, code: int = INTERNAL_ERROR) -> None:
        self.failures, self.code = failures, code
        self.received: list[tuple[int, float]] = []

    def log_batch(self, run_id: str, metrics: Sequence[Metric]) -> None:
        if self.failures:
            self.failures -= 1
            raise MlflowException("connection refused", self.code)
        self.received += [(metric.step, metric.value) for metric in metrics]


def batch(step: int) -> list[Metric]:
    return [Metric("loss", step / 2, 1000 + step, step)]


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender, "RETRY_SECONDS", 0.01)


def test_metrics_arrive_in_order_when_the_store_is_back(tmp_path: Path) -> None:
    store = Store(failures=3)
    sending = Sender(store, "run", tmp_path)
    for step in range(5):
        sending.put(batch(step))
    assert sending.close(timeout=30) == 0
    assert store.received == [(step, step / 2) for step in range(5)]
    assert sent_lines(tmp_path) == 5


def test_unsent_metrics_are_sent_by_the_next_process(tmp_path: Path) -> None:
    gone = Sender(Store(failures=10**9), "run", tmp_path)
    for step in range(3):
        gone.put(batch(step))
    assert gone.close(timeout=0.1) == 3
    # An incomplete line, as a killed process leaves it.
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('[["loss", 1')
    store = Store()
    again = Sender(store, "run", tmp_path)
    assert again.close(timeout=30) == 0
    assert store.received == [(step, step / 2) for step in range(3)]
    assert len(read_lines(tmp_path / "metrics.jsonl")) == 3


def test_metrics_that_are_refused_do_not_block_later_ones(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = Store(failures=1, code=INVALID_PARAMETER_VALUE)
    sending = Sender(store, "run", tmp_path)
    sending.put(batch(1))
    sending.put(batch(2))
    assert sending.close(timeout=30) == 0
    assert store.received == [(2, 1.0)]
    assert "refused metrics, and they are not sent again" in caplog.text


def serve(folder: Path, port: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "1"]
    where = ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", str(folder / "files")]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen([*command, *where], cwd=folder, start_new_session=True, **quiet)


def stop(server: subprocess.Popen[bytes]) -> None:
    os.killpg(server.pid, 9)
    server.wait()


def answers(port: int) -> bool:
    from urllib.error import URLError
    from urllib.request import urlopen

    try:
        return urlopen(f"http://127.0.0.1:{port}/health", timeout=1).status == 200
    except (URLError, OSError):
        return False


def wait_for(port: int) -> None:
    deadline = time.monotonic() + 90
    while not answers(port):
        assert time.monotonic() < deadline, "the server does not start"
        time.sleep(0.2)


@pytest.mark.slow
def test_a_server_that_stops_and_starts_again(tmp_path: Path, unused_port: int) -> None:
    server = serve(tmp_path, unused_port)
    try:
        wait_for(unused_port)
        uri = f"http://127.0.0.1:{unused_port}"
        tracker = MlflowTracker(uri=uri, experiment="vtok", artifact_root=None, system_metrics=False)
        tracker.start(tmp_path / "run", {"a": 1}, [], "outage", None, None)
        tracker.metrics({"loss": 3.0}, 0)
        stop(server)
        for step in range(1, 6):
            tracker.metrics({"loss": 3.0 - step / 10}, step)
        assert len(read_lines(tmp_path / "run" / "metrics.jsonl")) == 6
        assert sent_lines(tmp_path / "run") <= 1
        server = serve(tmp_path, unused_port)
        wait_for(unused_port)
        tracker.finish("FINISHED")
        history = MlflowClient(uri).get_metric_history(str(tracker.run_id), "loss")
        assert sorted(point.step for point in history) == [0, 1, 2, 3, 4, 5]
        assert MlflowClient(uri).get_run(str(tracker.run_id)).info.status == "FINISHED"
    finally:
        stop(server)


@pytest.fixture
def unused_port() -> int:
    from socket import socket

    with socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def test_sync_sends_unsent_metrics(store_uri: str, tmp_path: Path, tiny_run: list[str]) -> None:
    from vtok.cli.verbs.sync import sync
    from vtok.config import compose
    from vtok.training import train

    settings = [item for item in tiny_run if item != "tracking=none"]
    where = [f"tracking.uri={store_uri}", "tracking.system_metrics=false"]
    train(compose([*settings, *where]), run_dir=tmp_path / "run")
    run_id = json.loads((tmp_path / "run" / "status.json").read_text())["mlflow_run_id"]
    assert "has all metrics" in sync(run=str(tmp_path / "run"), outputs="none")
    with (tmp_path / "run" / "metrics.jsonl").open("a") as file:
        file.write(json.dumps([["late", 0.5, 1234, 99]]) + "\n")
    assert "sent 1 batches" in sync(run=str(tmp_path / "run"), outputs="none")
    (late,) = MlflowClient(store_uri).get_metric_history(run_id, "late")
    assert (late.value, late.step, late.timestamp) == (0.5, 99, 1234)
