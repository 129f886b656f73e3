"""The MLflow run that a run was recorded as, for the verbs that add to it later."""

from pathlib import Path

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from omegaconf import DictConfig

from vtok.common.errors import UserError
from vtok.runs.folder import read_status
from vtok.tracking.store import database_file, open_store, resolve_uri


def tracked_as(run_dir: Path, config: DictConfig) -> tuple[str, str] | None:
    """The store's address and the id of a run's MLflow run; None where it was not tracked.

    Args:
        run_dir: the run's folder.
        config: the run's.
    """
    status = read_status(run_dir)
    # Runs of older versions kept no address; a relative one of their configuration counts from the working directory.
    run_id, uri = status.get("mlflow_run_id"), status.get("mlflow_uri") or config.tracking.get("uri")
    return None if run_id is None or uri is None else (resolve_uri(uri), run_id)


def open_tracked(run_dir: Path, uri: str, run_id: str) -> MlflowClient:
    """A client of the store at `uri`, which holds the run `run_id` of `run_dir`.

    Raises:
        UserError: the store is not there or cannot be used, or the run is not in it.
    """
    elsewhere = f"write where it is now into {run_dir / 'status.json'} as mlflow_uri"
    database = database_file(uri)
    # It would be made, and be empty.
    if database is not None and not database.is_file():
        raise UserError(f"{run_dir} was tracked in {uri}, and there is no such file: bring it back, or {elsewhere}.")
    client = open_store(uri)
    try:
        client.get_run(run_id)
    except MlflowException as error:
        raise UserError(
            f"{run_dir} was tracked as {run_id}, and the MLflow store {uri} did not give that run "
            f"({' '.join(str(error).split()).rstrip('.')}): bring back the store that holds it, or {elsewhere}."
        ) from error
    return client
