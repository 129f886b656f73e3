import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from vtok.tracking.store import database_file, open_store


@pytest.fixture(scope="session")
def new_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database as `open_store` makes it, once for all tests that only need one to be there."""
    database = tmp_path_factory.mktemp("store") / "mlflow.db"
    open_store(f"sqlite:///{database}")
    return database


@pytest.fixture
def store_uri(new_database: Path, tmp_path: Path) -> str:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    copy = database_file(uri)
    assert copy is not None
    shutil.copyfile(new_database, copy)
    return uri


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Path]:
    """Writes a run folder as the training leaves it; `summary=None` is a run that failed."""

    def make(
        name: str,
        config: dict[str, Any],
        overrides: list[str],
        summary: dict[str, float | str] | None,
        mlflow_run_id: str | None = None,
    ) -> Path:
        folder = tmp_path / name
        folder.mkdir(parents=True)
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        (folder / "overrides.yaml").write_text(yaml.safe_dump(overrides))
        status = "failed" if summary is None else "finished"
        (folder / "status.json").write_text(json.dumps({"status": status, "mlflow_run_id": mlflow_run_id}))
        if summary is not None:
            (folder / "summary.json").write_text(json.dumps(summary))
        return folder

    return make
