"""Run folders, as they lie on disk."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vtok.common.errors import UserError
from vtok.common.foreign_files import read_mapping
from vtok.common.paths import natural
from vtok.config.moved import with_one_clip
from vtok.runs.folder import read_overrides, read_status, read_summary


@dataclass(frozen=True)
class Run:
    """A run folder that was read.

    `config` is resolved and nested, without `resume`; `summary` holds the final figures by name and is empty where the
    run did not get there. `status` is finished, stopped or failed, or "unfinished" where the run left no word.
    """

    path: Path
    config: dict[str, Any]
    overrides: list[str]
    summary: dict[str, float | str]
    status: str
    mlflow_run_id: str | None


def read_run(path: Path) -> Run:
    """Raises UserError where `path` is not a run folder, or a file of it cannot be read."""
    if not is_run(path):
        raise UserError(f"{path} is not a run folder (it has no config.yaml): give the folder of a run or of a sweep.")
    status = read_status(path)
    config = read_mapping(path / "config.yaml")
    if not config:
        raise UserError(f"{path / 'config.yaml'} is empty. It must be the configuration of a run.")
    # Where a run went on from says nothing of what it is, and would set it apart from those of other seeds.
    config.pop("resume", None)
    with_one_clip(config)
    return Run(
        path=path,
        config=config,
        overrides=read_overrides(path),
        summary=read_summary(path),
        status=status.get("status") or "unfinished",
        mlflow_run_id=status.get("mlflow_run_id"),
    )


def find_runs(folder: Path) -> list[Path]:
    """The run folders at or below `folder`, in natural order (2 before 10)."""
    return sorted(_walk(folder), key=lambda path: natural(str(path)))


def is_run(path: Path) -> bool:
    return os.path.isfile(path / "config.yaml")


def _walk(folder: Path) -> Iterator[Path]:
    for place, below, _ in os.walk(folder):
        if is_run(Path(place)):
            yield Path(place)
            below.clear()
        below[:] = [name for name in below if not name.startswith(".")]
