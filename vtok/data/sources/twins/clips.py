"""The twins of all clips as one sequence."""

from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import accumulate
from typing import NamedTuple

from vtok.common.hashing import stable_hash
from vtok.data.clip import Clip
from vtok.data.sources.ordered_clips import OrderedClips
from vtok.data.sources.twins.language import questions
from vtok.data.sources.twins.motions import Motion
from vtok.data.sources.twins.versions import ANSWERS, FLOW, Category, versions_of


class TwinSet(NamedTuple):
    """A clip in all versions of a category.

    Attributes:
        clip: number of the clip.
        category: category of the versions.
        motion: range and direction of a coherent motion, in the categories of `FLOW`; else None.
    """

    clip: int
    category: Category
    motion: Motion | None = None


class TwinClips(OrderedClips):
    """Clips in several versions.

    A twin's id is `ID~CATEGORY-NUMBER`. Its only questions are those about the version: caption and questions of the
    clip may be wrong about it.

    Args:
        clips: clips as they were filmed.
        sets: the sets, in the order of the twins.
        window: see `versions_of`.
    """

    def __init__(self, clips: Sequence[Clip], sets: Sequence[TwinSet], *, window: float) -> None:
        self._clips, self._sets, self._window = clips, sets, window
        sizes = {category: len(versions_of(category, window=window)) for category in ANSWERS}
        self._ends = list(accumulate(sizes[one.category] for one in sets))
        super().__init__(range(self._ends[-1] if sets else 0))

    def clip_at(self, place: int) -> Clip:
        which = bisect_right(self._ends, place)
        chosen = self._sets[which]
        clip = self._clips[chosen.clip]
        if chosen.motion is not None:
            clip = replace(clip, start=chosen.motion.start)
            variant = chosen.motion.answer
        else:
            variant = stable_hash("twins", clip.id, chosen.category)
        version = place - (self._ends[which - 1] if which else 0)
        answer, playback = versions_of(chosen.category, window=self._window, variant=variant)[version]
        return replace(
            clip,
            id=f"{clip.id}~{chosen.category}-{version}",
            caption=None,
            questions=questions(clip.id, chosen.category, answer),
            attributes={},
            playback=playback,
            footage=clip.id if clip.footage is None else clip.footage,
        )

    def complete(self, most: int) -> "TwinClips":
        """The first complete sets, with `most` twins or fewer; at least one set."""
        return self[: max((end for end in self._ends if end <= most), default=self._ends[0] if self._ends else 0)]

    @property
    def counts(self) -> dict[str, int]:
        """Number of twins in each category."""
        counts = Counter[str]()
        for chosen, end, begin in zip(self._sets, self._ends, [0, *self._ends], strict=False):
            counts[chosen.category] += end - begin
        return dict(counts)


def twin_sets(
    number: int, categories: Sequence[Category], *, most: int | None, motions: Mapping[int, Mapping[Category, Motion]]
) -> list[TwinSet]:
    """The sets of clips, in rounds: the first set of every clip, then the second of every clip that has one.

    Each clip begins with another category, so that the first few twins are of many clips and of all categories.

    Args:
        number: number of clips.
        categories: all categories.
        most: largest number of sets of a clip; None: one for each category.
        motions: coherent motions by number of the clip; a clip is in the categories of `FLOW` that it has motions for.
    """
    none: Mapping[Category, Motion] = {}
    rounds: list[list[TwinSet]] = [[] for _ in categories]
    for clip in range(number):
        own = motions.get(clip, none)
        turn = clip % len(categories)
        taken = [one for one in (*categories[turn:], *categories[:turn]) if one not in FLOW or one in own]
        for each, category in zip(rounds, taken[:most], strict=False):
            each.append(TwinSet(clip, category, own.get(category)))
    return [one for each in rounds for one in each]
