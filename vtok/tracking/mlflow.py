"""Tracking with MLflow, through `MlflowClient` only: active runs and MLflow's environment variables have no effect."""

import json
import logging
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunInfo
from mlflow.exceptions import MlflowException
from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor
from mlflow.utils.mlflow_tags import MLFLOW_GIT_COMMIT, MLFLOW_PARENT_RUN_ID

import vtok
from vtok.common.errors import UserError
from vtok.common.foreign_files import encodable, read_mapping, reason_of
from vtok.common.nested import flatten
from vtok.common.overrides import command
from vtok.tracking.base import FinalStatus, Tracker
from vtok.tracking.revision import revision
from vtok.tracking.sender import Sender, first_line
from vtok.tracking.store import (
    artifact_location,
    experiment_id,
    open_command,
    open_store,
    resolve_uri,
    run_url,
)

logger = logging.getLogger(__name__)

PARAMS_A_CALL = 100
PARAM_CHARACTERS = 6000
KEY_CHARACTERS = 250
FINISH_TIMEOUT = 60.0  # seconds that the end of a run waits for its store


@dataclass(frozen=True)
class _Run:
    client: MlflowClient
    run_id: str
    name: str
    experiment: str


class MlflowTracker(Tracker):
    """One MLflow run.

    Training continues if the store cannot be reached after the start. Metrics are saved in the run folder and sent when
    the store is back, at the latest by `vtok sync` (see `Sender`). Files are uploaded once more at the end of the run.

    Args:
        uri: an MLflow tracking URI; a relative `sqlite:///` path counts from the working directory; null: the sqlite
            file mlflow.db in `folder`.
        experiment: name of the MLflow experiment, which is created if it is new.
        artifact_root: folder or URI of a new experiment's files; null: beside a sqlite file, or the server's own.
        system_metrics: log CPU, memory, disk, network and GPU load every 10 s, as `system/...`.
        log_model: at the end log the trained model as an MLflow model: videos in, answers out.
        register_model: name in the model registry under which that model becomes a new version.
        folder: folder of the sqlite file.
    """

    def __init__(
        self,
        *,
        uri: str | None = None,
        experiment: str = "vtok",
        artifact_root: str | None = None,
        system_metrics: bool = True,
        log_model: bool = False,
        register_model: str | None = None,
        folder: str = "outputs",
    ) -> None:
        self._uri = resolve_uri(uri, folder)
        self.experiment = experiment
        self.artifact_root = artifact_root
        self.system_metrics = system_metrics
        self.logs_model = log_model or register_model is not None
        self.register_model = register_model
        self._run: _Run | None = None
        self._finished = False
        self._monitor: SystemMetricsMonitor | None = None
        self._sender: Sender | None = None
        self._failed_uploads: list[tuple[Path, str]] = []

    @property
    def run_id(self) -> str | None:
        return None if self._run is None else self._run.run_id

    @property
    def uri(self) -> str:
        return self._uri

    def start(
        self,
        run_dir: Path,
        config: dict[str, Any],
        overrides: list[str],
        name: str | None,
        parent_file: Path | None,
        run_id: str | None,
    ) -> None:
        client = open_store(self.uri)
        try:
            info = self._reopen(client, run_id) if run_id is not None else self._create(client, name, parent_file)
            self._run = _Run(client, info.run_id, info.run_name, info.experiment_id)
            self._run_dir = run_dir
            self._allowed_targets: list[str] = config.get("allowed_targets", [])
            self._record(run_dir, config, overrides)
        except UserError:
            raise
        # Artifact stores raise errors of their own: of the file system, of requests, of boto3.
        except Exception as error:
            reason = reason_of(error).rstrip(".")
            raise UserError(
                f"The MLflow store tracking.uri={self.uri} refused the run ({reason}). "
                "Set tracking.uri to another store, or set tracking=none."
            ) from error
        self._sender = Sender(client, info.run_id, run_dir)
        if self.system_metrics:
            logging.getLogger(SystemMetricsMonitor.__module__).setLevel(logging.WARNING)
            self._monitor = SystemMetricsMonitor(info.run_id, resume_logging=run_id is not None, tracking_uri=self.uri)
            self._monitor.start()

    def metrics(self, values: dict[str, float], step: int) -> None:
        self._started()
        assert self._sender is not None
        now = int(time.time() * 1000)
        if values:
            self._sender.put([Metric(clean_key(name), float(value), now, step) for name, value in values.items()])

    def artifact(self, path: Path, folder: str) -> None:
        if not self._upload(path, folder):
            self._failed_uploads.append((path, folder))

    def _upload(self, path: Path, folder: str) -> bool:
        """Upload a file or a folder; whether it succeeded. A failure is logged."""
        run = self._started()
        upload = run.client.log_artifacts if path.is_dir() else run.client.log_artifact
        try:
            upload(run.run_id, str(path), folder or None)
        # Artifact stores raise errors of their own: of the file system, of requests, of boto3.
        except Exception as error:
            self._report(f"the file {path}", error)
            return False
        return True

    def log_model(self, run_dir: Path, step: int) -> None:
        if not self.logs_model:
            return
        # Imported here, because it imports the packages for inference and training.
        from vtok.inference.mlflow_model import log_model, model_line

        run = self._started()
        try:
            address = log_model(
                run.client,
                run.run_id,
                run_dir,
                step=step,
                register=self.register_model,
                allowed_targets=self._allowed_targets,
            )
        # Any error is logged and not raised: the run itself has succeeded.
        except Exception as error:
            logger.debug("the model was not logged", exc_info=True)
            name = [] if self.register_model is None else [f"name={self.register_model}"]
            logger.error(
                "the MLflow store %s refused the model (%s). The run is complete. Log the model with: %s",
                self.uri, first_line(error), command("vtok", "register", f"run={run_dir}", *name),
            )  # fmt: skip
        else:
            logger.info("%s", model_line(self.uri, address))

    def finish(self, status: FinalStatus) -> None:
        if self._run is None or self._finished:
            return
        self._finished = True
        if self._monitor is not None:
            self._monitor.finish()
        # The sender is the last to start. Without it, the start has failed.
        if self._sender is not None and (unsent := self._sender.close(FINISH_TIMEOUT)):
            logger.error(
                "the MLflow store %s cannot be reached. The last %d batches of metrics are not sent. "
                "Send them when it is back: %s", self.uri, unsent, command("vtok", "sync", f"run={self._run_dir}"),
            )  # fmt: skip
        for path, folder in self._failed_uploads:
            self._upload(path, folder)
        try:
            self._run.client.set_terminated(self._run.run_id, status)
        except MlflowException as error:
            self._report(f"the end of the run ({status})", error)

    def describe(self) -> list[str]:
        run = self._started()
        return [
            f"MLflow store: {self.uri}",
            f"MLflow run:   {run.name} ({run.run_id}) in experiment {self.experiment}",
            f"open:         {open_command(self.uri)}",
            f"then:         {run_url(self.uri, run.experiment, run.run_id)}",
        ]

    def _started(self) -> _Run:
        if self._run is None:
            raise RuntimeError("MlflowTracker.start has not been called")
        return self._run

    def _create(self, client: MlflowClient, name: str | None, parent_file: Path | None) -> RunInfo:
        experiment = experiment_id(client, self.experiment, artifact_location(self.uri, self.artifact_root))
        tags: dict[str, Any] = {}
        if parent_file is not None:
            parent = read_mapping(parent_file)
            # A run of another store cannot be this run's parent.
            if parent.get("uri") == self.uri:
                tags[MLFLOW_PARENT_RUN_ID] = parent.get("run_id")
        return client.create_run(experiment, tags=tags, run_name=name).info

    def _reopen(self, client: MlflowClient, run_id: str) -> RunInfo:
        try:
            info = client.get_run(run_id).info
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            info = None
        if info is None or info.lifecycle_stage != "active":
            raise UserError(
                f"The MLflow run {run_id} to resume is not in the store tracking.uri={self.uri}, or was deleted there. "
                "Set tracking.uri to the store that holds it, or set tracking=none."
            )
        client.update_run(run_id, status="RUNNING")
        return info

    def _record(self, run_dir: Path, config: dict[str, Any], overrides: list[str]) -> None:
        run = self._started()
        params = config_params(config)
        # MLflow does not change parameters. A resumed run keeps its first ones; config.yaml has the current ones.
        known = run.client.get_run(run.run_id).data.params
        new = [param for param in params if param.key not in known]
        for start in range(0, len(new), PARAMS_A_CALL):
            run.client.log_batch(run.run_id, params=new[start : start + PARAMS_A_CALL])
        code = revision(Path(vtok.__file__).parent)
        if code.commit is not None:
            run.client.set_tag(run.run_id, MLFLOW_GIT_COMMIT, code.commit)
        if code.changes:
            run.client.log_text(run.run_id, code.changes, "code/uncommitted.diff")
        run.client.set_tag(run.run_id, "vtok.run_dir", encodable(str(run_dir.absolute())))
        run.client.log_text(run.run_id, yaml.safe_dump(config, sort_keys=False), "config.yaml")
        run.client.log_text(run.run_id, yaml.safe_dump(overrides), "overrides.yaml")

    def _report(self, what: str, error: Exception) -> None:
        logger.error("the MLflow store %s refused %s: %s", self.uri, what, error)


def config_params(config: dict[str, Any]) -> list[Param]:
    """The flattened config as MLflow parameters: keys that MLflow accepts, values of at most 6000 characters."""
    params = []
    for key, value in flatten(config).items():
        # SQLite refuses bytes of a file name that are not UTF-8.
        text = encodable(value) if isinstance(value, str) else json.dumps(value, default=str)
        if len(text) > PARAM_CHARACTERS:
            text = f"{text[: PARAM_CHARACTERS - 3]}..."
        params.append(Param(clean_key(key), text))
    return params


def clean_key(name: str) -> str:
    """`name` with the characters that MLflow refuses (brackets, quotes, ...) replaced by `_`."""
    return re.sub(r"[^\w./: -]", "_", name)[:KEY_CHARACTERS]
