"""The MLflow store: creating and opening it, and the addresses of its pages."""

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
# Characters that MLflow does not read literally in the path of a folder.
URI_CHARACTERS = frozenset("%?#")
LOCK_SECONDS = 120
PROBE_SECONDS = 3


def resolve_uri(uri: str | None, folder: str = ".") -> str:
    """An address of the store that is valid from every working directory: relative sqlite paths become absolute.

    Args:
        uri: `tracking.uri`; None: the sqlite file `mlflow.db` in `folder`.
        folder: folder of that file; its name may hold any characters.

    Raises:
        UserError: a question mark in `uri` is followed by a path instead of settings.
    """
    if uri is None:
        return sqlite_uri(user_path(folder) / DATABASE)
    if not uri.startswith(SQLITE):
        return uri
    path, mark, query = uri.removeprefix(SQLITE).partition("?")
    if "/" in query:
        raise UserError(
            f"tracking.uri={uri}: the text after ? is read as settings. Write %3F for a ? in a path and %25 for a %, "
            "or set tracking.uri=null for mlflow.db in tracking.folder."
        )
    return f"{sqlite_uri(Path(unquote(path)))}{mark}{query}"


def sqlite_uri(file: Path) -> str:
    """The absolute URI of a file. The characters % and ?, which SQLAlchemy does not read literally, are encoded."""
    path = str(file.absolute())
    if not {"%", "?"} & set(path):
        return f"{SQLITE}{path}"
    # MLflow creates the parent folder of the encoded path. With encoded slashes that parent is the root, which exists.
    return f"{SQLITE}/{quote(path.removeprefix('/'), safe='')}"


def database_file(uri: str) -> Path | None:
    """The file of a resolved sqlite URI; None for any other store."""
    return Path(unquote(uri.removeprefix(SQLITE).partition("?")[0])) if uri.startswith(SQLITE) else None


def open_store(uri: str) -> MlflowClient:
    """A client of the store at a resolved `uri`. A new sqlite file is created and migrated first.

    Raises:
        UserError: the store cannot be used; raised within seconds.
    """
    database = database_file(uri)
    try:
        if database is not None:
            _make_database(database)
        elif _is_server(uri):
            _probe(uri)
            # By default MLflow's client retries for minutes, and training would wait. `Sender` retries metrics instead.
            for name, value in (("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1"), ("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")):
                os.environ.setdefault(name, value)
        client = MlflowClient(tracking_uri=uri)
        client.search_experiments(max_results=1)
    except (MlflowException, SQLAlchemyError, sqlite3.Error, ImportError, OSError) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise UserError(
            f"The MLflow store tracking.uri={uri} cannot be used ({reason}). "
            "Set tracking.uri to another store, or set tracking=none."
        ) from error
    return client


def experiment_id(client: MlflowClient, name: str, location: str | None) -> str:
    """The id of the experiment `name`. A new one is created, with its artifacts at `location`.

    Raises:
        UserError: the experiment has been deleted.
    """
    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return str(client.create_experiment(name, artifact_location=location))
        except MlflowException as error:
            # Another process created it between the two calls.
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            return experiment_id(client, name, location)
    if found.lifecycle_stage != "active":
        raise UserError(
            f"The MLflow experiment tracking.experiment={name} has been deleted. Set tracking.experiment to another "
            f"name, or restore it: mlflow experiments restore --experiment-id {found.experiment_id}"
        )
    return str(found.experiment_id)


def artifact_location(uri: str, artifact_root: str | None) -> str | None:
    """The artifact folder of a new experiment: `artifact_root`, else beside the database, else the server's (None)."""
    if artifact_root is not None:
        return artifact_root if "://" in artifact_root else _location(Path(artifact_root))
    database = database_file(uri)
    # By default MLflow saves the artifacts of an sqlite store in the working directory.
    return None if database is None else _location(database.parent / "mlartifacts")


def _location(folder: Path) -> str:
    folder = folder.absolute()
    return folder.as_uri() if URI_CHARACTERS & set(str(folder)) else str(folder)


def open_command(uri: str) -> str:
    """The command that shows the store, or the address of a server."""
    return uri if _is_server(uri) else command("mlflow", "ui", "--backend-store-uri", uri)


def run_url(uri: str, experiment: str, run_id: str) -> str:
    """The page of one run, on the server or on the `mlflow ui` of `open_command`."""
    return f"{_ui_address(uri)}/#/experiments/{experiment}/runs/{run_id}"


def compare_url(uri: str, experiments: Sequence[str], run_ids: Sequence[str]) -> str:
    """The page that compares runs side by side. The list of an experiment does not show child runs until expanded."""
    runs, groups = (quote(json.dumps(list(ids))) for ids in (run_ids, experiments))
    return f"{_ui_address(uri)}/#/compare-runs?runs={runs}&experiments={groups}"


def _is_server(uri: str) -> bool:
    return urlsplit(uri).scheme in ("http", "https")


def _ui_address(uri: str) -> str:
    return uri.rstrip("/") if _is_server(uri) else "http://127.0.0.1:5000"


def _make_database(database: Path) -> None:
    database.parent.mkdir(parents=True, exist_ok=True)
    # MLflow migrates a new database without a lock. Processes that start together would break each other's migration.
    with FileLock(f"{database}.lock", timeout=LOCK_SECONDS):
        if database.exists() and not (database.is_file() and database.stat().st_size == 0):
            # MLflow would retry for minutes on a file that is not a database.
            with closing(sqlite3.connect(database)) as connection:
                connection.execute("PRAGMA schema_version")
            return
        # Renamed when complete, so that a killed process leaves no half-migrated store.
        unfinished = database.with_name(f"{database.name}.{os.getpid()}.new")
        # The migration makes hundreds of commits: 4 to 6 s, or 1 s without waiting for the disk.
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
    # MLflow's client retries for minutes. Any answer shows that there is a server, even an error page.
    try:
        urllib.request.urlopen(uri, timeout=PROBE_SECONDS).close()
    except urllib.error.HTTPError:
        return
    except urllib.error.URLError as error:
        if not isinstance(error.reason, ssl.SSLError):
            raise
