"""Finding and reading run folders."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from vtok.common.errors import UserError
from vtok.common.foreign_files import read_mapping
from vtok.common.paths import natural_key
from vtok.runs.answered import Asked, read_right
from vtok.runs.folder import drop_clip_copies, read_overrides, read_status, read_summary


@dataclass(frozen=True)
class SavedRun:
    """The content of a run folder.

    Attributes:
        path: the run folder.
        config: the configuration, resolved and nested, without `resume`.
        overrides: the overrides that the run was composed with.
        summary: final metrics by name; empty if the run did not finish.
        status: "running", "finished", "stopped" or "failed"; "unfinished" if the run saved no status.
        mlflow_run_id: id of its MLflow run; None without tracking.
    """

    path: Path
    config: dict[str, Any]
    overrides: list[str]
    summary: dict[str, float | str]
    status: str
    mlflow_run_id: str | None

    @cached_property
    def right(self) -> dict[str, dict[Asked, bool]]:
        """Whether each answer is right, by metric and question; empty if the run has saved no answers.

        Raises:
            UserError: a file of answers cannot be read.
        """
        return read_right(self.path)


def read_run(path: Path) -> SavedRun:
    """Read a run folder.

    Raises:
        UserError: `path` is not a run folder, or one of its files cannot be read.
    """
    if not is_run(path):
        raise UserError(f"{path} is not a run folder (it has no config.yaml). Use the folder of a run.")
    status = read_status(path)
    config = read_mapping(path / "config.yaml")
    if not config:
        raise UserError(f"{path / 'config.yaml'} is empty. Use a folder that holds the configuration of a run.")
    # Where a run was resumed from would make it differ from runs with other seeds.
    config.pop("resume", None)
    drop_clip_copies(config)
    return SavedRun(
        path=path,
        config=config,
        overrides=read_overrides(path),
        summary=read_summary(path),
        status=status.get("status") or "unfinished",
        mlflow_run_id=status.get("mlflow_run_id"),
    )


def find_runs(folder: Path) -> list[Path]:
    """All run folders in `folder`, or `folder` itself, in natural order (2 before 10)."""
    return sorted(_walk(folder), key=lambda path: natural_key(str(path)))


def is_run(path: Path) -> bool:
    return os.path.isfile(path / "config.yaml")


def _walk(folder: Path) -> Iterator[Path]:
    for place, below, _ in os.walk(folder):
        if is_run(Path(place)):
            yield Path(place)
            below.clear()
        below[:] = [name for name in below if not name.startswith(".")]
