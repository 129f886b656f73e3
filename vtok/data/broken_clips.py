"""Broken clips: reported once each, counted, and too many of them stop the run."""

import logging
from collections.abc import Iterable, Mapping

from vtok.common.errors import UserError

log = logging.getLogger(__name__)

LISTED = 20


def list_bad(bad: Mapping[str, str]) -> str:
    """The paths and reasons, a line each, at most the first 20."""
    lines = [f"  {path}: {reason}" for path, reason in list(bad.items())[:LISTED]]
    if len(bad) > LISTED:
        lines.append(f"  and {len(bad) - LISTED} more")
    return "\n".join(lines)


class BadFiles:
    """The broken clips that a run has met, by their path.

    Args:
        clips: of the data set, broken ones among them.
        max_fraction: share of them that may be broken.
    """

    def __init__(self, *, clips: int, max_fraction: float) -> None:
        self.clips, self.max_fraction = clips, max_fraction
        self.reasons: dict[str, str] = {}

    @property
    def count(self) -> int:
        """Different broken clips so far."""
        return len(self.reasons)

    def add(self, bad: Iterable[tuple[str, str]]) -> None:
        """Note (path, reason) pairs; a path that is new is logged as a warning."""
        for path, reason in bad:
            if path not in self.reasons:
                self.reasons[path] = reason
                log.warning("skipped a broken clip: %s: %s", path, reason)

    def check(self) -> None:
        """Raise UserError with the list when more than `max_fraction` of the clips are broken."""
        if self.count > self.max_fraction * self.clips:
            raise UserError(
                f"{self.count} of {self.clips} clips are broken, more than loader.max_bad_fraction={self.max_fraction} "
                f"allows; mend or remove them, or raise the fraction:\n{list_bad(self.reasons)}"
            )
