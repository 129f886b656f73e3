import os
import re
import shutil
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from mlflow import MlflowClient
from sqlalchemy import Engine, event

from vtok.common.errors import UserError
from vtok.tracking.store import (
    artifact_location,
    compare_url,
    database_file,
    experiment_id,
    open_command,
    open_store,
    resolve_uri,
    run_url,
)

WRITER = """
import logging, sys
logging.basicConfig(level=logging.INFO)
from pathlib import Path
from vtok.tracking.mlflow import MlflowTracker
tracker = MlflowTracker(uri=sys.argv[1], experiment="race", artifact_root=None, system_metrics=False)
print("ready", flush=True)
sys.stdin.readline()
tracker.start(Path(sys.argv[3]), {"a": 1}, [], f"writer {sys.argv[2]}", None, None)
for step in range(5):
    tracker.metrics({"loss": float(step)}, step)
tracker.finish("FINISHED")
"""


@pytest.mark.slow
def test_four_processes_start_at_once_on_a_new_store(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/new/mlflow.db"
    # PYTHONPATH finds the package under test from any working directory.
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    pipe = subprocess.PIPE
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, uri, str(number), str(tmp_path / str(number))],
            env=environment,
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            text=True,
        )
        for number in range(4)
    ]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()
    errors = [writer.communicate(timeout=120)[1] for writer in writers]
    assert [writer.returncode for writer in writers] == [0] * 4, errors
    # Creating a store logs nothing, even at level INFO. Warnings of an optional library are ignored.
    logged = [line for error in errors for line in error.splitlines() if not line.startswith("WARNING:bitsandbytes")]
    assert logged == []

    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("race")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    assert sorted(run.info.run_name for run in runs) == [f"writer {number}" for number in range(4)]
    for run in runs:
        assert run.info.status == "FINISHED"
        assert [m.value for m in sorted(client.get_metric_history(run.info.run_id, "loss"), key=lambda m: m.step)] == [
            float(step) for step in range(5)
        ]
    assert not list((tmp_path / "new").glob("*.new"))


def test_new_store_has_the_schema_of_mlflows_own_upgrade(new_database: Path, tmp_path: Path) -> None:
    own = tmp_path / "own.db"

    def fast(connection: sqlite3.Connection, record: object) -> None:
        connection.execute("PRAGMA synchronous = OFF")

    event.listen(Engine, "connect", fast)
    MlflowClient(f"sqlite:///{own}").search_experiments()
    event.remove(Engine, "connect", fast)

    def schema(path: Path) -> list[tuple[str, list[str]]]:
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            rows = connection.execute("SELECT name, coalesce(sql, '') FROM sqlite_master ORDER BY name").fetchall()
        # Words in any order: two migrations by MLflow itself list the values of a CHECK in different orders.
        return [(name, sorted(re.findall(r"\w+", sql))) for name, sql in rows]

    assert schema(new_database) == schema(own)


def test_empty_file_becomes_a_store(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").touch()
    assert open_store(f"sqlite:///{tmp_path}/mlflow.db").search_experiments()


def test_relative_path_counts_from_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert resolve_uri("sqlite:///outputs/mlflow.db") == f"sqlite:///{tmp_path}/outputs/mlflow.db"
    assert resolve_uri("sqlite:////data/mlflow.db") == "sqlite:////data/mlflow.db"
    assert resolve_uri("sqlite:///a.db?timeout=5") == f"sqlite:///{tmp_path}/a.db?timeout=5"
    assert resolve_uri("https://tracking.example") == "https://tracking.example"


@pytest.mark.parametrize("name", ["a%20b", "a%2Fb", "a?b=c", "a#b", "ünï (1)"])
def test_a_store_can_be_in_a_folder_of_any_name(
    name: str, new_database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / name
    folder.mkdir()
    shutil.copyfile(new_database, folder / "mlflow.db")
    uri = resolve_uri(None, name)
    assert (resolve_uri(uri), database_file(uri)) == (uri, folder / "mlflow.db")
    client = open_store(uri)
    run = client.create_run(experiment_id(client, "vtok", artifact_location(uri, None)))
    client.log_text(run.info.run_id, "some text", "note.txt")
    (note,) = (folder / "mlartifacts").rglob("note.txt")
    assert note.read_text() == "some text"
    with closing(sqlite3.connect(folder / "mlflow.db")) as connection:
        assert connection.execute("SELECT run_uuid FROM runs").fetchall() == [(run.info.run_id,)]
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_new_store_is_created_in_a_folder_of_any_name(tmp_path: Path) -> None:
    open_store(resolve_uri(None, str(tmp_path / "a%20b?c")))
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.db")] == ["a%20b?c/mlflow.db"]


def test_a_question_mark_before_a_path_is_refused() -> None:
    with pytest.raises(UserError, match="Write %3F"):
        resolve_uri("sqlite:////data/a?b/mlflow.db")


def _text_file(folder: Path) -> str:
    (folder / "notes.txt").write_text("no database " * 1000)
    return f"sqlite:///{folder}/notes.txt"


def _folder(folder: Path) -> str:
    return f"sqlite:///{folder}"


def _below_a_file(folder: Path) -> str:
    (folder / "file").write_text("x")
    return f"sqlite:///{folder}/file/mlflow.db"


@pytest.mark.parametrize("place", [_text_file, _folder, _below_a_file])
def test_an_unusable_sqlite_path_is_refused_within_seconds(place, tmp_path: Path) -> None:
    uri = place(tmp_path)
    started = time.monotonic()
    with pytest.raises(UserError, match=r"tracking\.uri=.*tracking=none"):
        open_store(uri)
    assert time.monotonic() - started < 2


def test_a_missing_server_is_refused_within_seconds() -> None:
    started = time.monotonic()
    with pytest.raises(UserError, match=r"tracking\.uri=http://127\.0\.0\.1:9 .*tracking=none"):
        open_store("http://127.0.0.1:9")
    assert time.monotonic() - started < 2


def test_store_of_an_unknown_kind() -> None:
    with pytest.raises(UserError, match=r"tracking\.uri=nonsense://x"):
        open_store("nonsense://x")


def test_older_schema_is_not_migrated_behind_the_users_back(store_uri: str) -> None:
    with closing(sqlite3.connect(store_uri.removeprefix("sqlite:///"))) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '451aebb31d03'")
        connection.commit()
    with pytest.raises(UserError, match="mlflow db upgrade"):
        open_store(store_uri)


def test_an_experiment_is_created_once_and_a_deleted_one_is_refused(store_uri: str) -> None:
    client = open_store(store_uri)
    made = experiment_id(client, "vtok", "/somewhere")
    assert experiment_id(client, "vtok", "/elsewhere") == made
    assert client.get_experiment(made).artifact_location == "/somewhere"
    client.delete_experiment(made)
    with pytest.raises(UserError, match=r"tracking\.experiment=vtok"):
        experiment_id(client, "vtok", None)


def test_artifacts_are_beside_the_database_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert artifact_location("sqlite:////data/mlflow.db", None) == "/data/mlartifacts"
    assert artifact_location("sqlite:////data/mlflow.db", "files") == f"{tmp_path}/files"
    assert artifact_location("sqlite:////data/mlflow.db", "s3://bucket/a") == "s3://bucket/a"
    assert artifact_location("https://tracking.example", None) is None


def test_pages() -> None:
    assert (
        open_command("sqlite:////my data/mlflow.db") == "mlflow ui --backend-store-uri 'sqlite:////my data/mlflow.db'"
    )
    assert open_command("https://tracking.example/") == "https://tracking.example/"
    assert run_url("https://tracking.example/", "3", "abc") == "https://tracking.example/#/experiments/3/runs/abc"
    assert compare_url("sqlite:////mlflow.db", ["1"], ["a", "b"]) == (
        "http://127.0.0.1:5000/#/compare-runs?runs=%5B%22a%22%2C%20%22b%22%5D&experiments=%5B%221%22%5D"
    )
