"""Which checkpoint was the best so far, by a figure of the evaluations."""

import json
import logging
from dataclasses import dataclass
from pathlib import Path

from vtok.common.errors import UserError
from vtok.common.files import write_text
from vtok.common.foreign_files import read_mapping
from vtok.config.compose import one_of
from vtok.data.clip import BESIDE

log = logging.getLogger("vtok")


@dataclass(frozen=True)
class Best:
    """The note `best.json` beside the checkpoints: step, metric and value of the best one.

    Attributes:
        folder: of the checkpoints.
        metric: name of a figure; None keeps no note.
        mode: "max" or "min", whether more or less of it is better.
    """

    folder: Path
    metric: str | None
    mode: str

    @property
    def step(self) -> int | None:
        """Of the best checkpoint; None where none was judged by this metric yet."""
        noted = self._noted()
        return None if noted is None else noted[0]

    def consider(self, step: int, figures: dict[str, float]) -> None:
        """Note the checkpoint of `step`, which has these figures, where it is better than the best before it.

        Raises:
            UserError: the figures hold no such metric.
        """
        if self.metric is None:
            return
        if self.metric not in figures:
            raise UserError(
                f"trainer.best_by={self.metric}: no figure has that name. {one_of(self.metric, names(figures))}"
            )
        value, noted = figures[self.metric], self._noted()
        if noted is None or (value > noted[1] if self.mode == "max" else value < noted[1]):
            write_text(
                self.folder / "best.json",
                json.dumps({"step": step, "metric": self.metric, "mode": self.mode, "value": value}),
            )
            log.info("the best by %s so far: %.4g at step %d", self.metric, value, step)

    def _noted(self) -> tuple[int, float] | None:
        file = self.folder / "best.json"
        if self.metric is None or not file.is_file():
            return None
        match read_mapping(file):
            case {"step": int(step), "metric": metric, "mode": mode, "value": int() | float() as value}:
                return (step, value) if (metric, mode) == (self.metric, self.mode) else None
        raise UserError(f"{file}: it must name step, metric, mode and value. Delete it to judge checkpoints anew.")


def names(figures: dict[str, float]) -> list[str]:
    """The figures that a person would judge by: those without the ones that stand beside them."""
    return [name for name in figures if not name.endswith(BESIDE)]
