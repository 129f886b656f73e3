"""The parent run of a sweep or a study in MLflow, and the file by which its runs find it."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from mlflow.exceptions import MlflowException
from omegaconf import DictConfig

from vtok.common.errors import UserError
from vtok.common.files import write_text
from vtok.common.foreign_files import read_mapping
from vtok.tracking.store import artifact_location, database_file, experiment_id, open_store, resolve_uri

PARENT_FILE = "mlflow_parent.json"
ARTIFACT_FOLDER = "comparison"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Parent:
    """A parent run.

    Attributes:
        uri: address of the store.
        experiment_id: id of the experiment.
        run_id: id of the run.
        of_study: whether it is the parent run of a study. The study closes it and logs to it; its sweeps do not.
    """

    uri: str
    experiment_id: str
    run_id: str
    of_study: bool = False


def read_parent(folder: Path) -> Parent | None:
    """The parent run of a sweep or a study in its folder; None if it has none.

    Raises:
        UserError: `mlflow_parent.json` cannot be read.
    """
    file = folder / PARENT_FILE
    if not file.is_file():
        return None
    written = read_mapping(file)
    texts = [written.get(name) for name in ("uri", "experiment_id", "run_id")]
    if not all(isinstance(text, str) for text in texts):
        raise UserError(f"{file} must have the keys uri, experiment_id and run_id. Delete it if the run is gone.")
    uri, experiment, run_id = map(str, texts)
    return Parent(uri, experiment, run_id, of_study=written.get("of_study") is True)


def write_parent(folder: Path, parent: Parent) -> None:
    """Write the file by which the runs in a folder find their parent run."""
    folder.mkdir(parents=True, exist_ok=True)
    written = {"run_id": parent.run_id, "uri": parent.uri, "experiment_id": parent.experiment_id}
    write_text(folder / PARENT_FILE, json.dumps(written | ({"of_study": True} if parent.of_study else {})))


def start_parent(
    folder: Path, tracking: DictConfig, *, name: str, tags: Mapping[str, str], of_study: bool = False
) -> Parent | None:
    """The parent run of a folder, which is running then. It is created if the folder has none in this store.

    Args:
        folder: folder of the sweep or the study.
        tracking: configuration of the tracker.
        name: name of a new run.
        tags: tags of a new run.
        of_study: whether the folder is that of a study.

    Returns:
        The run; None if the tracker has no store.

    Raises:
        UserError: the store cannot be used.
    """
    if "uri" not in tracking:
        return None
    uri = resolve_uri(tracking["uri"], tracking.get("folder", "."))
    client = open_store(uri)
    known = read_parent(folder)
    if known is not None and known.uri == uri:
        try:
            client.update_run(known.run_id, status="RUNNING")
            if of_study and not known.of_study:
                known = replace(known, of_study=True)
                write_parent(folder, known)
            return known
        except MlflowException:
            log.warning("The parent run %s is no longer in %s. A new one is created.", known.run_id, uri)
    experiment = experiment_id(client, tracking["experiment"], artifact_location(uri, tracking["artifact_root"]))
    run = client.create_run(experiment, run_name=name, tags={**tags, "vtok.run_dir": str(folder.absolute())})
    parent = Parent(uri, experiment, run.info.run_id, of_study=of_study)
    write_parent(folder, parent)
    return parent


def finish_parent(parent: Parent, status: Literal["FINISHED", "FAILED"], *, files: Sequence[Path] = ()) -> None:
    """Close a parent run, with files among its artifacts. What goes wrong is logged: the runs are not lost."""
    try:
        client = open_store(parent.uri)
        for file in files:
            client.log_artifact(parent.run_id, str(file))
        client.set_terminated(parent.run_id, status)
    except (UserError, MlflowException) as error:
        log.error("The parent run %s was not closed: %s", parent.run_id, error)


def log_to_parent(parent: Parent, files: Sequence[Path]) -> None:
    """Log the files of a comparison to a parent run.

    Raises:
        UserError: the store no longer exists, or it refuses the files.
    """
    database = database_file(parent.uri)
    if database is not None and not database.exists():
        raise UserError(
            f"The sweep's MLflow store {parent.uri} no longer exists. The comparison was not logged there. "
            f"Delete {PARENT_FILE} in the sweep folder, or restore the store."
        )
    client = open_store(parent.uri)
    try:
        for file in files:
            client.log_artifact(parent.run_id, str(file), ARTIFACT_FOLDER)
    except MlflowException as error:
        raise UserError(
            f"The sweep's MLflow store {parent.uri} refused the comparison ({error}). "
            f"Start the store, or delete {PARENT_FILE} in the sweep folder."
        ) from error
