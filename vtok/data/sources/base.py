"""What every data set offers to the rest of the project."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import islice
from typing import ClassVar, Literal

from torch.utils.data import Sampler

from vtok.common.setting_types import Count
from vtok.data.augmentation import Augmentation
from vtok.data.cached_reader import CachedReader
from vtok.data.clip import Clip
from vtok.data.clip_reader import ClipReader, FrameReader, Planner
from vtok.data.clip_settings import ClipSettings
from vtok.data.plan import TargetPlan
from vtok.data.sampler import EpochSampler, SampleKey

Split = Literal["train", "heldout"]


class DataSource(ABC):
    """A data set: where its clips are.

    Args:
        clip: how a clip is read.
        limit: largest number of clips used of each split; None uses all.
        cache: folder of a feature cache that clips are read from instead of their files; None reads the files.
        augmentation: how training clips are changed each time they are seen; None leaves them as they are.

    Attributes:
        bad: why clips of the data set cannot be used, by their path, as far as known without reading the videos.
        frames_fps: frames a second of clips that are folders of images.
    """

    # Whether it is made of others, and whether its pixels are drawn by this project.
    holds_sources: ClassVar[bool] = False
    synthetic: ClassVar[bool] = False
    # The name that model cards have for its clips; None: that of the class.
    dataset: ClassVar[str | None] = None

    frames_fps: float = 24.0

    def __init__(
        self,
        *,
        clip: ClipSettings,
        limit: Count | None = None,
        cache: str | None = None,
        augmentation: Augmentation | None = None,
    ) -> None:
        self.clip = clip
        self.limit = limit
        self.cache = cache
        self.augmentation = Augmentation() if augmentation is None else augmentation
        self.bad: dict[str, str] = {}

    @property
    def rate(self) -> float:
        """Frames a second of a clip, as far as known before its file is opened."""
        return self.clip.fps or self.frames_fps

    @abstractmethod
    def prepare(self) -> None:
        """Find the clips, or make them where the data set is made by us; a second call does nothing."""

    def describe(self) -> str:
        """What it is, for a person."""
        return type(self).__name__

    @abstractmethod
    def all_clips(self, split: Split) -> Sequence[Clip]:
        """The clips of a split, in an order that is stable between runs; no clip is in both splits."""

    def clips(self, split: Split) -> Sequence[Clip]:
        """The first `limit` clips of a split."""
        return self.all_clips(split)[: self.limit]

    def split_rank(self, clip: Clip) -> float | None:
        """A hash of the clip's file in [0, 1) that decides its split, held out below a fraction; None where another
        reason does, as that it is written down.
        """
        return None

    def check_texts(self, most: int) -> None:
        """Raise UserError where one of the first `most` training clips must not be augmented as is said."""
        self.augmentation.check(islice(self.clips("train"), most))

    def part_of(self, clip: Clip) -> "DataSource":
        """The data set that a clip is of, where this one is a mixture; else this one."""
        return self

    def reader(self, planner: Planner, target: TargetPlan | None = None, *, seed: int | None = None) -> ClipReader:
        """What makes samples of clips for a tokeniser's plan, and for a decoder's where there is a `target`.

        For training there is a `seed`, that of the run: then clips are augmented.
        """
        if self.cache is not None:
            return CachedReader(self.cache, with_target=target is not None)
        return self.frame_reader(planner, target, seed=seed)

    def frame_reader(
        self, planner: Planner, target: TargetPlan | None = None, *, seed: int | None = None
    ) -> ClipReader:
        """What decodes clips whatever `cache` says."""
        return FrameReader(
            planner,
            self.clip,
            frames_fps=self.frames_fps,
            target=target,
            augmentation=None if seed is None else self.augmentation,
            seed=seed or 0,
        )

    def sampler(self, *, seed: int, start: int = 0, rank: int = 0, world_size: int = 1) -> Sampler[SampleKey]:
        """The endless order of the training clips, from the sample on that follows `start` of this rank."""
        number = len(self.clips("train"))
        return EpochSampler(number, seed=seed, rank=rank, world_size=world_size, start=start)
