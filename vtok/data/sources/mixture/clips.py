"""The clips of several data sets as one sequence."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import accumulate

import numpy as np

from vtok.data.clip import Clip
from vtok.data.sources.ordered_clips import OrderedClips


class MixtureClips(OrderedClips):
    """Clips of several sources.

    A clip's id is `SOURCE/ID`, its group `SOURCE/GROUP`, and its `source` is the name of the source.

    Args:
        parts: clips of each source, by name.
        order: (clips,), indices into the concatenated clips of all sources; None: all of them, in this order.
    """

    def __init__(self, parts: Mapping[str, Sequence[Clip]], order: range | np.ndarray | None = None) -> None:
        self._names, self._parts = list(parts), list(parts.values())
        self._ends = list(accumulate(map(len, self._parts)))
        super().__init__(range(self._ends[-1]) if order is None else order)

    def clip_at(self, place: int) -> Clip:
        which = bisect_right(self._ends, place)
        clip = self._parts[which][place - self._first(which)]
        name = self._names[which]
        group = None if clip.group is None else f"{name}/{clip.group}"
        return replace(clip, id=f"{name}/{clip.id}", source=name, group=group)

    @property
    def clip_counts(self) -> dict[str, int]:
        """Number of clips of each source."""
        return {name: len(part) for name, part in zip(self._names, self._parts, strict=True)}

    @property
    def offsets(self) -> list[int]:
        """Index of each source's first clip in the concatenated clips."""
        return [self._first(which) for which in range(len(self._ends))]

    def siblings(self, place: int) -> range:
        """Indices, in the concatenated clips, of all clips of the source that the clip `place` belongs to."""
        which = bisect_right(self._ends, place)
        return range(self._first(which), self._ends[which])

    def _first(self, which: int) -> int:
        return self._ends[which - 1] if which else 0


def interleave(parts: Mapping[str, Sequence[Clip]]) -> MixtureClips:
    """The clips of all sources in turn, so that the first few are from every source."""
    rounds = np.concatenate([np.arange(len(part)) for part in parts.values()])
    return MixtureClips(parts, np.argsort(rounds, kind="stable"))
