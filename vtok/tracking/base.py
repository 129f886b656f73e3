"""The contract of all experiment trackers."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, Literal

FinalStatus = Literal["FINISHED", "FAILED", "KILLED"]


class Tracker(ABC):
    """Records one run: call `start` once, `metrics` and `artifact` any number of times, and `finish` once."""

    @property
    @abstractmethod
    def run_id(self) -> str | None:
        """The id of the run in the store; None before `start`, or if nothing is recorded."""

    @property
    @abstractmethod
    def uri(self) -> str | None:
        """The address of the store, valid from every working directory; None if nothing is recorded."""

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
        """Open a new run, or reopen the run `run_id` to resume it.

        Args:
            run_dir: the run folder.
            config: the configuration, resolved and nested.
            overrides: the overrides that the run was composed with.
            name: name of a new run; None: the store chooses one.
            parent_file: `mlflow_parent.json` of the sweep that the run belongs to; None outside a sweep.
            run_id: id of the run to reopen; None: a new run.

        Raises:
            UserError: the store cannot be used, or it does not have the run to reopen.
        """

    @abstractmethod
    def metrics(self, values: dict[str, float], step: int) -> None:
        """Record metrics by name at an optimiser step, without waiting for the store. Names may hold slashes."""

    @abstractmethod
    def artifact(self, path: Path, folder: str) -> None:
        """Upload a file or a folder's files to the artifact folder `folder` ("": the top); older ones are replaced."""

    @abstractmethod
    def log_model(self, run_dir: Path, step: int) -> None:
        """Log the trained model of a run folder at an optimiser step, if the settings ask for it.

        A failure is logged and does not stop the run.
        """

    @abstractmethod
    def finish(self, status: FinalStatus) -> None:
        """Wait until everything is recorded, and close the run. Does nothing if no run was started."""

    @abstractmethod
    def describe(self) -> list[str]:
        """Lines for the user that say where the run is and how to open it."""
