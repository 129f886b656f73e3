"""Finds the MLflow run of a run folder, for the verbs that add to it later."""

from pathlib import Path

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from vtok.common.errors import UserError
from vtok.common.foreign_files import reason_of
from vtok.runs.folder import read_status
from vtok.tracking.store import database_file, open_store, resolve_uri


def mlflow_run_of(run_dir: Path) -> tuple[str, str] | None:
    """The store's address and the id of the MLflow run of a run folder; None if it was not tracked."""
    status = read_status(run_dir)
    run_id, uri = status.get("mlflow_run_id"), status.get("mlflow_uri")
    return None if run_id is None or uri is None else (resolve_uri(uri), run_id)


def open_tracked(run_dir: Path, uri: str, run_id: str) -> MlflowClient:
    """A client of the store at `uri`, which holds the run `run_id` of `run_dir`.

    Raises:
        UserError: if the store does not exist or cannot be used, or does not hold the run.
    """
    new_address = f"write its new address into {run_dir / 'status.json'} as mlflow_uri"
    database = database_file(uri)
    # MLflow would create an empty database.
    if database is not None and not database.is_file():
        raise UserError(f"{run_dir} was tracked in {uri}, which no longer exists. Move it back, or {new_address}.")
    client = open_store(uri)
    try:
        client.get_run(run_id)
    except MlflowException as error:
        raise UserError(
            f"{run_dir} was tracked as {run_id}, and the MLflow store {uri} does not provide that run "
            f"({reason_of(error).rstrip('.')}). Move the store that holds it back, or {new_address}."
        ) from error
    return client
