"""Several data sets as one."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from torch.utils.data import Sampler

from vtok.common.errors import UserError
from vtok.common.setting_types import Count
from vtok.data.clip import Clip
from vtok.data.clip_reader import ClipReader, ClipSample, Planner
from vtok.data.clip_settings import ClipSettings
from vtok.data.plan import TargetPlan
from vtok.data.sampler import SampleKey
from vtok.data.sources.base import DataSource, Split
from vtok.data.sources.mixture.clips import MixtureClips, in_turns
from vtok.data.sources.mixture.sampler import MixtureSampler
from vtok.data.sources.mixture.shares import check_names, check_weights


class MixtureData(DataSource):
    """Several data sets, trained on in given shares, whatever the numbers of their clips.

    Every source keeps what is its own: where its clips are, how they are split and their augmentation. A clip's id is
    `SOURCE/ID`, and a broken one is replaced by another of its source. Held-out clips are those of all sources, one of
    each in turn, so that the first few of them are of all.

    A video that is of no source (`vtok describe`) is read as those of the first source are.

    Args:
        sources: by name; none of them a mixture. Their `clip` is that of the mixture.
        weights: share of each source in the training samples, by name, above 0, in any unit; None takes the numbers of
            training clips, so that an epoch of one source is an epoch of all.
        limit: largest number of clips used of each split of each source.
        cache: folder of a feature cache of all sources; they have none of their own.

    The other arguments are those of `DataSource`, for all sources.
    """

    holds_sources = True

    def __init__(
        self,
        *,
        sources: Mapping[str, DataSource],
        clip: ClipSettings,
        weights: Mapping[str, float] | None = None,
        limit: Count | None = None,
        cache: str | None = None,
    ) -> None:
        check_names(sources)
        for name, source in sources.items():
            if not isinstance(source, DataSource) or isinstance(source, MixtureData):
                raise UserError(
                    f"data.sources.{name}: it is a {type(source).__name__}; allowed are data sets such as data=folder, "
                    "shards and shapes, and no mixture."
                )
        super().__init__(clip=clip, limit=limit, cache=cache)
        for name, source in sources.items():
            if source.clip != clip:
                raise UserError(f"data.sources.{name}.clip={source.clip}: it must be the mixture's. Use {clip}.")
            if source.cache is not None:
                raise UserError(
                    f"data.sources.{name}.cache={source.cache}: a mixture has one cache, its own. Use cache=None."
                )
            if limit is not None and (source.limit is None or source.limit > limit):
                raise UserError(f"data.sources.{name}.limit={source.limit}: the mixture's is {limit}; say no more.")
        if weights is not None:
            check_weights(weights, sources)
        self.sources = dict(sources)
        self.frames_fps = next(iter(sources.values())).frames_fps
        self.weights = None if weights is None else dict(weights)
        self._clips: dict[Split, MixtureClips] = {}

    def prepare(self) -> None:
        if self._clips:
            return
        for source in self.sources.values():
            source.prepare()
            self.bad |= source.bad
        parts = {name: source.clips("train") for name, source in self.sources.items()}
        if (empty := next((name for name, part in parts.items() if not part), None)) is not None:
            raise UserError(f"data.sources.{empty} has no training clips; leave it out by ~data.sources.{empty}.")
        self._clips["train"] = MixtureClips(parts)
        self._clips["heldout"] = in_turns({name: source.clips("heldout") for name, source in self.sources.items()})

    def describe(self) -> str:
        weights, numbers = self._weights(), self.clips("train").numbers
        shares = [f"{weights[name] / sum(weights.values()):.1%} {name} ({numbers[name]} clips)" for name in numbers]
        reason = " by the numbers of clips, as data.weights=null" if self.weights is None else ""
        return f"{super().describe()}{reason}: {', '.join(shares)}"

    def all_clips(self, split: Split) -> MixtureClips:
        self.prepare()
        parts = {name: source.all_clips(split) for name, source in self.sources.items()}
        return MixtureClips(parts) if split == "train" else in_turns(parts)

    def clips(self, split: Split) -> MixtureClips:
        """The first `limit` clips of a split of each source."""
        self.prepare()
        return self._clips[split]

    def check_texts(self, most: int) -> None:
        for source in self.sources.values():
            source.check_texts(most)

    def part_of(self, clip: Clip) -> DataSource:
        return self.sources[clip.source or next(iter(self.sources))]

    def frame_reader(
        self, planner: Planner, target: TargetPlan | None = None, *, seed: int | None = None
    ) -> ClipReader:
        readers = {name: source.frame_reader(planner, target, seed=seed) for name, source in self.sources.items()}
        return MixtureReader(readers)

    def sampler(self, *, seed: int, start: int = 0, rank: int = 0, world_size: int = 1) -> Sampler[SampleKey]:
        weights = self._weights()
        return MixtureSampler(
            [partial(_order, source, seed) for source in self.sources.values()],
            [weights[name] for name in self.sources],
            self.clips("train").firsts,
            seed=seed,
            rank=rank,
            world_size=world_size,
            start=start,
        )

    def _weights(self) -> Mapping[str, float]:
        return self.clips("train").numbers if self.weights is None else self.weights


def _order(source: DataSource, seed: int, start: int) -> Sampler[SampleKey]:
    return source.sampler(seed=seed, start=start)


@dataclass(frozen=True)
class MixtureReader:
    """Reads each clip as its source does; one that is of no source as the first.

    Attributes:
        readers: of the sources, by name.
    """

    readers: Mapping[str, ClipReader]

    def read(self, clip: Clip, key: SampleKey) -> ClipSample:
        return self.readers[clip.source or next(iter(self.readers))].read(clip, key)
