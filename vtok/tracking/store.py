"""The MLflow store: made and migrated once, opened, and shown to the user."""

import json
import os
import sqlite3
import ssl
import urllib.error
import urllib.request
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from filelock import FileLock
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from sqlalchemy import Engine, event
from sqlalchemy.exc import SQLAlchemyError

from vtok.common.errors import UserError
from vtok.common.overrides import command
from vtok.common.paths import user_path
from vtok.common.quiet import quiet

SQLITE = "sqlite:///"
DATABASE = "mlflow.db"
# Signs that MLflow reads otherwise in the path of a folder.
NOT_IN_FOLDERS = frozenset("%?#")
LOCK_SECONDS = 120
PROBE_SECONDS = 3


def resolve_uri(uri: str | None, folder: str = ".") -> str:
    """The same store from every working directory: a relative sqlite path becomes absolute, all else stays.

    Args:
        uri: as configured; None: the sqlite file `mlflow.db` in `folder`, whatever that is called.
        folder: where that file lies.
    """
    if uri is None:
        return sqlite_uri(user_path(folder) / DATABASE)
    if not uri.startswith(SQLITE):
        return uri
    path, mark, query = uri.removeprefix(SQLITE).partition("?")
    if "/" in query:
        raise UserError(
            f"tracking.uri={uri}: what follows a ? is read as settings. Write %3F for a ? in a path and %25 for a %, "
            "or set tracking.uri=null for mlflow.db in tracking.folder."
        )
    return f"{sqlite_uri(Path(unquote(path)))}{mark}{query}"


def sqlite_uri(file: Path) -> str:
    """The URI of a file, absolute, with the signs encoded that SQLAlchemy reads otherwise."""
    path = str(file.absolute())
    if not {"%", "?"} & set(path):
        return f"{SQLITE}{path}"
    # MLflow makes the folder that the encoded path seems to lie in; with its slashes encoded too that is the root.
    return f"{SQLITE}/{quote(path.removeprefix('/'), safe='')}"


def database_file(uri: str) -> Path | None:
    """The file behind a resolved sqlite URI; None for any other store."""
    return Path(unquote(uri.removeprefix(SQLITE).partition("?")[0])) if uri.startswith(SQLITE) else None


def open_store(uri: str) -> MlflowClient:
    """A client of the store at a resolved `uri`, which is made and migrated first where it is a new sqlite file.

    Raises UserError, within seconds, where the store cannot be used.
    """
    database = database_file(uri)
    try:
        if database is not None:
            _make_database(database)
        elif _is_server(uri):
            _probe(uri)
            # MLflow's client would try for minutes while the training waits; figures are tried again by `Sender`.
            for name, value in (("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1"), ("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")):
                os.environ.setdefault(name, value)
        client = MlflowClient(tracking_uri=uri)
        client.search_experiments(max_results=1)
    except (MlflowException, SQLAlchemyError, sqlite3.Error, ImportError, OSError) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise UserError(
            f"The MLflow store tracking.uri={uri} cannot be used ({reason}): "
            "name another with tracking.uri=..., or run without one with tracking=none."
        ) from error
    return client


def experiment_id(client: MlflowClient, name: str, location: str | None) -> str:
    """The id of the experiment `name`, made with its artifacts at `location` where it is new."""
    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return str(client.create_experiment(name, artifact_location=location))
        except MlflowException as error:
            # Another process made it between the two calls.
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            return experiment_id(client, name, location)
    if found.lifecycle_stage != "active":
        raise UserError(
            f"The MLflow experiment tracking.experiment={name} has been deleted: name another, or bring it back with "
            f"`mlflow experiments restore --experiment-id {found.experiment_id}`."
        )
    return str(found.experiment_id)


def artifact_location(uri: str, artifact_root: str | None) -> str | None:
    """Where a new experiment keeps its files: `artifact_root`, else beside the database, else as the server decides."""
    if artifact_root is not None:
        return artifact_root if "://" in artifact_root else _location(Path(artifact_root))
    database = database_file(uri)
    # Left to itself MLflow would put the files of an sqlite store into the working directory.
    return None if database is None else _location(database.parent / "mlartifacts")


def _location(folder: Path) -> str:
    folder = folder.absolute()
    return folder.as_uri() if NOT_IN_FOLDERS & set(str(folder)) else str(folder)


def open_command(uri: str) -> str:
    """What the user types, or opens, to look at the store."""
    return uri if _is_server(uri) else command("mlflow", "ui", "--backend-store-uri", uri)


def run_url(uri: str, experiment: str, run_id: str) -> str:
    """The page of one run, on the server or on the `mlflow ui` of `open_command`."""
    return f"{_pages(uri)}/#/experiments/{experiment}/runs/{run_id}"


def compare_url(uri: str, experiments: Sequence[str], run_ids: Sequence[str]) -> str:
    """The page that compares runs side by side (child runs are collapsed in the list of an experiment)."""
    runs, groups = (quote(json.dumps(list(ids))) for ids in (run_ids, experiments))
    return f"{_pages(uri)}/#/compare-runs?runs={runs}&experiments={groups}"


def _is_server(uri: str) -> bool:
    return urlsplit(uri).scheme in ("http", "https")


def _pages(uri: str) -> str:
    return uri.rstrip("/") if _is_server(uri) else "http://127.0.0.1:5000"


def _make_database(database: Path) -> None:
    database.parent.mkdir(parents=True, exist_ok=True)
    # MLflow migrates a new database without a lock of its own, and processes that start together break each other.
    with FileLock(f"{database}.lock", timeout=LOCK_SECONDS):
        if database.exists() and not (database.is_file() and database.stat().st_size == 0):
            # MLflow would retry for minutes on a file that is no database.
            with closing(sqlite3.connect(database)) as connection:
                connection.execute("PRAGMA schema_version")
            return
        # Renamed when complete, so that a process killed on the way leaves no half-migrated store.
        unfinished = database.with_name(f"{database.name}.{os.getpid()}.new")
        # Some hundred commits: 1 s without waiting for the disk, 4 to 6 s with it.
        event.listen(Engine, "connect", _write_without_waiting)
        try:
            with quiet("alembic", "mlflow.store.db.utils"):
                MlflowClient(tracking_uri=sqlite_uri(unfinished)).search_experiments(max_results=1)
        finally:
            event.remove(Engine, "connect", _write_without_waiting)
        with unfinished.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(unfinished, database)


def _write_without_waiting(connection: sqlite3.Connection, record: object) -> None:
    connection.execute("PRAGMA synchronous = OFF")


def _probe(uri: str) -> None:
    # MLflow's own client retries for minutes; any answer at all, an error page included, means that a server is there.
    try:
        urllib.request.urlopen(uri, timeout=PROBE_SECONDS).close()
    except urllib.error.HTTPError:
        return
    except urllib.error.URLError as error:
        if not isinstance(error.reason, ssl.SSLError):
            raise
