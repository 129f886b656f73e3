"""What the training loop knows of experiment tracking."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, Literal

FinalStatus = Literal["FINISHED", "FAILED", "KILLED"]


class Tracker(ABC):
    """Records one run: `start` once, then `metrics` and `artifact` as often as wanted, then `finish` once."""

    @property
    @abstractmethod
    def run_id(self) -> str | None:
        """The store's id of the run; None before `start` and where nothing is recorded."""

    @property
    @abstractmethod
    def uri(self) -> str | None:
        """The store's address, the same from every working directory; None where nothing is recorded."""

    @abstractmethod
    def start(
        self,
        run_dir: Path,
        config: dict[str, Any],
        overrides: list[str],
        name: str | None,
        parent_file: Path | None,
        run_id: str | None,
    ) -> None:
        """Open a new run, or reopen the run `run_id` (resume).

        `config` is resolved and nested. `parent_file` is the `mlflow_parent.json` of the sweep the run belongs to.
        Raises UserError where the store cannot be used.
        """

    @abstractmethod
    def metrics(self, values: dict[str, float], step: int) -> None:
        """Record figures by name (slashes allowed) at an optimiser step; does not wait for the store."""

    @abstractmethod
    def artifact(self, path: Path, folder: str) -> None:
        """Keep a copy of a file, or of a folder's files, under `folder` ("" for the top), in place of an older one."""

    @abstractmethod
    def log_model(self, run_dir: Path, step: int) -> None:
        """Keep the trained model of a run folder after so many steps, where that was asked for; a failure is told."""

    @abstractmethod
    def finish(self, status: FinalStatus) -> None:
        """Wait until all is recorded, and close the run. Does nothing where no run was started."""

    @abstractmethod
    def describe(self) -> list[str]:
        """Lines for the user: where the run lies and how to look at it."""
