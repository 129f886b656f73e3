"""The data set of twins."""

import os
from collections.abc import Sequence
from itertools import islice
from typing import Annotated

from annotated_types import Ge, Lt, MinLen

from vtok.common.errors import UserError
from vtok.common.overrides import command
from vtok.common.setting_types import Count, Fraction, Positive
from vtok.data.clip import Clip
from vtok.data.clip_reader import ClipReader, Planner
from vtok.data.clip_settings import ClipSettings
from vtok.data.flow import VideoFlow, read_flow
from vtok.data.plan import TargetPlan
from vtok.data.sources.base import SPLITS, DataSource, Split
from vtok.data.sources.mixture.source import MixtureData
from vtok.data.sources.twins.clips import TwinClips, twin_sets
from vtok.data.sources.twins.motions import Motion, motions_of
from vtok.data.sources.twins.versions import CATEGORIES, FLOW, PLAIN, SIDED, Category


class TwinsData(DataSource):
    """A temporal benchmark out of another data set: its clips in versions that share their frames.

    A clip is shown forwards and backwards, with its halves swapped, with one half faster, and so on. The questions are
    about the version. Compare the conflicting videos of TempCompass (Liu et al. 2024) and TVBench (Cores et al. 2024).
    A reader of the frames without their order is right for exactly one in n answers, see `versions`. All twins of a
    clip are in the split of the clip.

    Args:
        source: the other data set, whose clips are shown; no twins. Its `clip` must be that of the twins.
        categories: what is asked; None: all but left_right and up_down, and with `flow` these too.
        sets: largest number of categories in which a clip is shown; None: all.
        window: side of the window that pans and tilts, and of the smallest one that zooms, as a fraction of the frame.
        flow: file of `vtok data flow`, for left_right and up_down; None: no such questions.
        least_shift: smallest motion that left_right and up_down ask about, in picture widths over the clip.
        least_coherence: smallest share of that motion in the length of its path; 1: all steps go the same way.
        limit: largest number of twins of each split, in complete sets, of which there is at least one.
        cache: folder of a feature cache of all twins; the other data set has none of its own.

    The other arguments are those of `DataSource`. The augmentation is that of `source`.
    """

    wraps_source = True
    dataset = "twins"

    def __init__(
        self,
        *,
        source: DataSource,
        clip: ClipSettings,
        categories: Annotated[Sequence[Category], MinLen(1)] | None = None,
        sets: Count | None = None,
        window: Annotated[float, Ge(0.1), Lt(1)] = 0.6,
        flow: str | None = None,
        least_shift: Positive = 0.05,
        least_coherence: Fraction = 0.8,
        limit: Count | None = None,
        cache: str | None = None,
    ) -> None:
        super().__init__(clip=clip, limit=limit, cache=cache)
        if not isinstance(source, DataSource) or isinstance(source, TwinsData):
            raise UserError(
                f"data.source: {type(source).__name__} cannot be shown as twins. Use a data set such as data=folder, "
                "shards, shapes or mixture."
            )
        if source.clip != clip:
            raise UserError(f"data.source.clip={source.clip} differs from the clip of the twins. Use {clip}.")
        if source.cache is not None:
            raise UserError(f"data.source.cache={source.cache}: only the twins have a cache. Use data.cache=FOLDER.")
        if isinstance(source, MixtureData) and source.weights is not None:
            raise UserError(
                "data.source.weights: an epoch has every twin once, whatever its source. Set data.source.weights=null."
            )
        chosen = (*PLAIN, *(FLOW if flow is not None else ())) if categories is None else tuple(categories)
        if not chosen or not set(chosen) <= set(CATEGORIES):
            raise UserError(
                f"data.categories=[{','.join(chosen)}]: unknown or empty. Use one or more of {', '.join(CATEGORIES)}."
            )
        # In a fixed order, so that the same categories give the same twins.
        self.categories = tuple(category for category in CATEGORIES if category in chosen)
        self.source = source
        self.sets = sets
        self.window = window
        self.flow = flow
        self.least_shift, self.least_coherence = least_shift, least_coherence
        self.frames_fps = source.frames_fps
        self._twins: dict[Split, TwinClips] = {}
        self._flows: dict[str, VideoFlow] | None = None

    def prepare(self) -> None:
        self.source.prepare()
        self.bad = self.source.bad
        if self._flows is None:
            self._flows = self._read_flows()

    def describe(self) -> str:
        counts = ", ".join(f"{category} {count}" for category, count in self.all_clips("train").counts.items())
        return f"{super().describe()} of {self.source.describe()}: {counts}"

    def all_clips(self, split: Split) -> TwinClips:
        if split not in self._twins:
            self.prepare()
            clips = self.source.clips(split)
            sets = twin_sets(len(clips), self.categories, most=self.sets, motions=self._motions(clips))
            self._twins[split] = TwinClips(clips, sets, window=self.window)
        return self._twins[split]

    def clips(self, split: Split) -> TwinClips:
        """The first complete sets of a split, with `limit` twins or fewer."""
        twins = self.all_clips(split)
        return twins if self.limit is None else twins.complete(self.limit)

    def filmed(self, split: Split) -> Sequence[Clip]:
        return self.source.filmed(split)

    @property
    def is_augmented(self) -> bool:
        return self.source.is_augmented

    def check_augmentation(self, most: int) -> None:
        for clip in islice(self.clips("train"), most):
            augmentation = self.source_of(clip).augmentation
            sided = {question.category for question in clip.questions} & set(SIDED)
            if augmentation.horizontal_flip and augmentation.left_right == "flip" and sided:
                raise UserError(
                    f"data.source.augmentation.left_right=flip: a flip makes the answers of {', '.join(sided)} wrong. "
                    "Use left_right=keep, or data.categories without it."
                )
            augmentation.check([clip])

    def source_of(self, clip: Clip) -> DataSource:
        return self.source.source_of(clip)

    def frame_reader(
        self, planner: Planner, target: TargetPlan | None = None, *, seed: int | None = None
    ) -> ClipReader:
        return self.source.frame_reader(planner, target, seed=seed)

    def _motions(self, clips: Sequence[Clip]) -> dict[int, dict[Category, Motion]]:
        """The coherent motions of each clip, by number, for the chosen categories of `FLOW`."""
        limits = {"least_shift": self.least_shift, "least_coherence": self.least_coherence}
        found = {}
        if flows := self._flows:
            for number, clip in enumerate(clips):
                if (flow := flows.get(os.path.abspath(clip.path))) is not None:
                    found[number] = motions_of(clip, flow, self.clip, **limits)
        return found

    def _read_flows(self) -> dict[str, VideoFlow]:
        """The flow statistics of files by absolute path; empty if no category needs them."""
        if not set(FLOW) & set(self.categories):
            return {}
        if self.flow is None:
            raise UserError(
                "data.flow=null: the categories left_right and up_down are taken from flow statistics. Make them with "
                f"{command('vtok', 'data', 'flow', 'root=PATH')}, and set data.flow=PATH/flow.json."
            )
        flows = read_flow(self.flow)
        # A split may be empty, or have files without flow statistics.
        if not any(os.path.abspath(clip.path) in flows for split in SPLITS for clip in self.source.clips(split)):
            raise UserError(
                f"data.flow={self.flow}: it has none of the clips' files. Use the file that vtok data flow wrote for "
                "data.source.root."
            )
        return flows
