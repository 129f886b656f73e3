"""What every data set offers to the rest of the project."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import islice
from typing import ClassVar, Literal

from torch.utils.data import Sampler

from vtok.common.setting_types import Count, CountOrZero, Fraction, Positive
from vtok.data.augmentation import Augmentation
from vtok.data.cached_reader import CachedReader
from vtok.data.clip import Clip
from vtok.data.clip_reader import ClipReader, FrameReader, Planner
from vtok.data.plan import TargetPlan
from vtok.data.sampler import EpochSampler, SampleKey

Split = Literal["train", "heldout"]


class DataSource(ABC):
    """A data set: where its clips are, and how they are read.

    Args:
        size: pixels a side of the square frames.
        num_frames: frames of a clip, at most; the tokeniser plans on these.
        fps: frames a second of a clip; None takes the frames that the file has.
        frames_fps: frames a second of clips that are folders of images.
        batch_size: clips in a batch of each process.
        num_workers: number of processes that decode; 0: the main process decodes.
        max_bad_fraction: share of broken clips above which a run stops.
        limit: largest number of clips used of each split; None uses all.
        decode_timeout: seconds after which a clip that is still being read counts as broken; None: no limit.
        cache: folder of a feature cache that clips are read from instead of their files; None reads the files.
        augmentation: how training clips are changed each time they are seen; None leaves them as they are.

    Attributes:
        bad: why clips of the data set cannot be used, by their path, as far as known without reading the videos.
    """

    # Whether it is made of others, and whether its pixels are drawn by this project.
    holds_sources: ClassVar[bool] = False
    synthetic: ClassVar[bool] = False
    # The name that model cards have for its clips; None: that of the class.
    dataset: ClassVar[str | None] = None

    def __init__(
        self,
        *,
        size: Count,
        num_frames: Count,
        fps: Positive | None,
        frames_fps: Positive,
        batch_size: Count = 8,
        num_workers: CountOrZero = 1,
        max_bad_fraction: Fraction,
        limit: Count | None = None,
        decode_timeout: Positive | None = 60.0,
        cache: str | None = None,
        augmentation: Augmentation | None = None,
    ) -> None:
        self.size = size
        self.num_frames = num_frames
        self.fps = fps
        self.frames_fps = frames_fps
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.max_bad_fraction = max_bad_fraction
        self.limit = limit
        self.decode_timeout = decode_timeout
        self.cache = cache
        self.augmentation = Augmentation() if augmentation is None else augmentation
        self.bad: dict[str, str] = {}

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
            num_frames=self.num_frames,
            fps=self.fps,
            size=self.size,
            frames_fps=self.frames_fps,
            target=target,
            decode_timeout=self.decode_timeout,
            augmentation=None if seed is None else self.augmentation,
            seed=seed or 0,
        )

    def sampler(self, *, seed: int, start: int = 0, rank: int = 0, world_size: int = 1) -> Sampler[SampleKey]:
        """The endless order of the training clips, from the sample on that follows `start` of this rank."""
        number = len(self.clips("train"))
        return EpochSampler(number, seed=seed, rank=rank, world_size=world_size, start=start)
