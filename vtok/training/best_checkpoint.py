"""The best checkpoint so far, by a metric of the evaluations."""

import json
import logging
from dataclasses import dataclass
from pathlib import Path

from vtok.common.errors import UserError
from vtok.common.files import write_text
from vtok.common.foreign_files import read_mapping
from vtok.config.compose import one_of
from vtok.data.clip import METRIC_SUFFIXES

log = logging.getLogger("vtok")


@dataclass(frozen=True)
class BestCheckpoint:
    """The file `best.json` beside the checkpoints, with the step, metric and value of the best one.

    Attributes:
        folder: folder of the checkpoints.
        metric: name of the metric; None: the best checkpoint is not tracked.
        mode: "max" or "min": whether a higher or a lower value is better.
    """

    folder: Path
    metric: str | None
    mode: str

    @property
    def step(self) -> int | None:
        """Step of the best checkpoint; None if no checkpoint has this metric yet."""
        saved = self.read()
        return None if saved is None else saved[0]

    def update(self, step: int, metrics: dict[str, float]) -> None:
        """Save `step` as the best one if its metric is better than the best before.

        Raises:
            UserError: the evaluations have no such metric.
        """
        if self.metric is None:
            return
        if self.metric not in metrics:
            raise UserError(
                f"trainer.best_by={self.metric} is not a metric of the evaluations. "
                f"{one_of(self.metric, main_metrics(metrics))}"
            )
        value, saved = metrics[self.metric], self.read()
        if saved is None or (value > saved[1] if self.mode == "max" else value < saved[1]):
            write_text(
                self.folder / "best.json",
                json.dumps({"step": step, "metric": self.metric, "mode": self.mode, "value": value}),
            )
            log.info("best %s so far: %.4g at step %d", self.metric, value, step)

    def read(self) -> tuple[int, float] | None:
        """Step and value of the best checkpoint; None if no checkpoint has this metric yet."""
        file = self.folder / "best.json"
        if self.metric is None or not file.is_file():
            return None
        match read_mapping(file):
            case {"step": int(step), "metric": metric, "mode": mode, "value": int() | float() as value}:
                return (step, value) if (metric, mode) == (self.metric, self.mode) else None
        raise UserError(f"{file} must have step, metric, mode and value. Delete it to select the best checkpoint anew.")


def main_metrics(metrics: dict[str, float]) -> list[str]:
    """The names of the metrics, without those that accompany another one, such as bounds of its interval."""
    return [name for name in metrics if not name.endswith(METRIC_SUFFIXES)]
