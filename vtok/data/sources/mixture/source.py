"""A weighted mixture of several data sets."""

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
from vtok.data.sources.base import HELD_OUT, DataSource, Split
from vtok.data.sources.mixture.clips import MixtureClips, interleave
from vtok.data.sources.mixture.sampler import MixtureSampler
from vtok.data.sources.mixture.shares import check_names, check_weights


class MixtureData(DataSource):
    """A mixture of data sets with given weights, whatever their numbers of clips.

    Each source has its own root, split and augmentation. A clip's id is `SOURCE/ID`, and another clip of the same
    source replaces a broken one. Held-out clips come from all sources in turn, so that the first few are from every
    source.

    A video of no source (`vtok describe`) is read like those of the first source.

    Args:
        sources: data sets by name; no mixtures. Their `clip` must be that of the mixture.
        weights: share of each source in the training samples, by name, above 0, in any unit; None: the numbers of
            training clips, so that all sources have epochs of the same length.
        limit: largest number of clips of each split of each source; None: no limit.
        cache: folder of a feature cache of all sources, which have no caches of their own.

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
                    f"data.sources.{name}: {type(source).__name__} cannot be a source. Use a data set such as "
                    "data=folder, shards or shapes, and not a mixture."
                )
        super().__init__(clip=clip, limit=limit, cache=cache)
        for name, source in sources.items():
            if source.clip != clip:
                raise UserError(f"data.sources.{name}.clip={source.clip} differs from the mixture's clip. Use {clip}.")
            if source.cache is not None:
                raise UserError(
                    f"data.sources.{name}.cache={source.cache}: only the mixture has a cache. Use cache=None."
                )
            if limit is not None and (source.limit is None or source.limit > limit):
                raise UserError(
                    f"data.sources.{name}.limit={source.limit} exceeds the mixture's limit. Use {limit} or less."
                )
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
            raise UserError(f"data.sources.{empty} has no training clips. Remove it: ~data.sources.{empty}.")
        self._clips["train"] = MixtureClips(parts)
        for split in HELD_OUT:
            self._clips[split] = interleave({name: source.clips(split) for name, source in self.sources.items()})

    def describe(self) -> str:
        weights, counts = self._weights(), self.clips("train").clip_counts
        shares = [f"{weights[name] / sum(weights.values()):.1%} {name} ({counts[name]} clips)" for name in counts]
        reason = " weighted by numbers of clips (data.weights=null)" if self.weights is None else ""
        return f"{super().describe()}{reason}: {', '.join(shares)}"

    def all_clips(self, split: Split) -> MixtureClips:
        self.prepare()
        parts = {name: source.all_clips(split) for name, source in self.sources.items()}
        return MixtureClips(parts) if split == "train" else interleave(parts)

    def clips(self, split: Split) -> MixtureClips:
        """The first `limit` clips of a split of each source."""
        self.prepare()
        return self._clips[split]

    @property
    def is_augmented(self) -> bool:
        return any(source.is_augmented for source in self.sources.values())

    def check_augmentation(self, most: int) -> None:
        for source in self.sources.values():
            source.check_augmentation(most)

    def source_of(self, clip: Clip) -> DataSource:
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
            self.clips("train").offsets,
            seed=seed,
            rank=rank,
            world_size=world_size,
            start=start,
        )

    def _weights(self) -> Mapping[str, float]:
        return self.clips("train").clip_counts if self.weights is None else self.weights


def _order(source: DataSource, seed: int, start: int) -> Sampler[SampleKey]:
    return source.sampler(seed=seed, start=start)


@dataclass(frozen=True)
class MixtureReader:
    """Reads each clip with the reader of its source, and a clip of no source with the first reader.

    Attributes:
        readers: reader of each source, by name.
    """

    readers: Mapping[str, ClipReader]

    def read(self, clip: Clip, key: SampleKey) -> ClipSample:
        return self.readers[clip.source or next(iter(self.readers))].read(clip, key)
