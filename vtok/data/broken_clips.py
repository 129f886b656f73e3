"""Broken clips: each is logged once, and a run stops if there are too many."""

import logging
from collections.abc import Iterable, Mapping

from vtok.common.errors import UserError

log = logging.getLogger(__name__)

LISTED = 20


def list_bad(bad: Mapping[str, str]) -> str:
    """The labels and reasons, one per line; at most the first 20."""
    lines = [f"  {label}: {reason}" for label, reason in list(bad.items())[:LISTED]]
    if len(bad) > LISTED:
        lines.append(f"  and {len(bad) - LISTED} more")
    return "\n".join(lines)


class BadFiles:
    """The broken clips of a run, by label (`Clip.label`).

    Args:
        clips: number of clips in the data set, including broken ones.
        max_fraction: share of clips that may be broken, 0 to 1.
    """

    def __init__(self, *, clips: int, max_fraction: float) -> None:
        self.clips, self.max_fraction = clips, max_fraction
        self.reasons: dict[str, str] = {}

    @property
    def count(self) -> int:
        """Number of distinct broken clips so far."""
        return len(self.reasons)

    def add(self, bad: Iterable[tuple[str, str]]) -> None:
        """Record (label, reason) pairs; a new label is logged as a warning."""
        for label, reason in bad:
            if label not in self.reasons:
                self.reasons[label] = reason
                log.warning("skipped a broken clip: %s: %s", label, reason)

    def check(self) -> None:
        """Raise UserError with the list if more than `max_fraction` of the clips are broken."""
        if self.count > self.max_fraction * self.clips:
            raise UserError(
                f"loader.max_bad_fraction={self.max_fraction}: {self.count} of {self.clips} clips are broken. "
                f"Repair or remove them, or raise loader.max_bad_fraction:\n{list_bad(self.reasons)}"
            )
