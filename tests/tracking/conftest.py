import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Protocol

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


BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
BROWSER_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-component-update",
    "--disable-background-networking", "--disable-sync", "--enable-logging=stderr", "--v=0", "--window-size=1300,1000",
)  # fmt: skip


class Sight(NamedTuple):
    """`dom`: the page after its programs have run. `console`: what they wrote there, errors included."""

    dom: str
    console: list[str]


class Look(Protocol):
    def __call__(self, url: str, *, milliseconds: int = 3000) -> Sight: ...


@pytest.fixture
def look(tmp_path: Path) -> Look:
    """Opens a page in a browser for so many milliseconds of the page's own time; skips where there is no browser."""
    browser = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if browser is None:
        pytest.skip("no chromium to look with")

    def open_page(url: str, *, milliseconds: int = 3000) -> Sight:
        own = (f"--user-data-dir={tmp_path / 'profile'}", f"--virtual-time-budget={milliseconds}", "--dump-dom")
        done = subprocess.run(
            [browser, *BROWSER_FLAGS, *own, url], capture_output=True, text=True, timeout=180, check=True
        )
        return Sight(done.stdout, re.findall(r"CONSOLE[^\]]*\] (.*)", done.stderr))

    return open_page
