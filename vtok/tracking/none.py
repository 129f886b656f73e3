"""No tracking: everything is in the run folder."""

from pathlib import Path
from typing import Any

from vtok.tracking.base import FinalStatus, Tracker


class NoTracker(Tracker):
    """Records nothing."""

    @property
    def run_id(self) -> str | None:
        return None

    @property
    def uri(self) -> str | None:
        return None

    def start(
        self,
        run_dir: Path,
        config: dict[str, Any],
        overrides: list[str],
        name: str | None,
        parent_file: Path | None,
        run_id: str | None,
    ) -> None:
        pass

    def metrics(self, values: dict[str, float], step: int) -> None:
        pass

    def artifact(self, path: Path, folder: str) -> None:
        pass

    def log_model(self, run_dir: Path, step: int) -> None:
        pass

    def finish(self, status: FinalStatus) -> None:
        pass

    def describe(self) -> list[str]:
        return ["not tracked (tracking=none): everything is in the run folder"]
