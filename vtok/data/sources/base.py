"""The contract of all data sets."""

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

Split = Literal["train", "validation", "test"]
HELD_OUT: tuple[Split, ...] = ("validation", "test")
SPLITS: tuple[Split, ...] = ("train", *HELD_OUT)


class DataSource(ABC):
    """A data set: it finds clips and splits them into training, validation and test clips.

    Validation clips are for every choice that is made, such as the best checkpoint. Test clips are for what is
    reported.

    Args:
        clip: settings of a clip.
        limit: largest number of clips of each split; None: no limit.
        cache: folder of a feature cache that replaces the clips' files; None: the files are read.
        augmentation: random changes to training clips; None: no changes.

    Attributes:
        bad: why clips cannot be used, by path or `Clip.label`, as far as known before videos are read.
        frames_fps: frames a second of clips that are folders of images.
    """

    # Whether the data set is a mixture of others, whether it shows the clips of another one, and whether its clips are
    # synthetic.
    holds_sources: ClassVar[bool] = False
    wraps_source: ClassVar[bool] = False
    synthetic: ClassVar[bool] = False
    # Name of the data set in model cards; None: the name of the class.
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
        """Frames a second of clips, as far as known before files are opened."""
        return self.clip.fps or self.frames_fps

    @abstractmethod
    def prepare(self) -> None:
        """Find the clips, or render them if the data set is synthetic. A second call does nothing."""

    def describe(self) -> str:
        """A description for the log."""
        return type(self).__name__

    @abstractmethod
    def all_clips(self, split: Split) -> Sequence[Clip]:
        """The clips of a split, in the same order in every run; no clip is in two splits."""

    def clips(self, split: Split) -> Sequence[Clip]:
        """The first `limit` clips of a split."""
        return self.all_clips(split)[: self.limit]

    def filmed(self, split: Split) -> Sequence[Clip]:
        """The clips of a split as they were filmed, for those who read files: twins are versions of other clips."""
        return self.clips(split)

    def split_rank(self, clip: Clip) -> float | None:
        """A hash of the clip's group in [0, 1), see `vtok.data.sources.splits`.

        None if the split is given by something else, such as a manifest.
        """
        return None

    @property
    def is_augmented(self) -> bool:
        """Whether training clips differ from epoch to epoch."""
        return self.augmentation.changes

    def check_augmentation(self, most: int) -> None:
        """Raise UserError if the augmentation contradicts the texts of the first `most` training clips."""
        self.augmentation.check(islice(self.clips("train"), most))

    def source_of(self, clip: Clip) -> "DataSource":
        """The data set that a clip belongs to: one of the sources of a mixture, else this one."""
        return self

    def reader(self, planner: Planner, target: TargetPlan | None = None, *, seed: int | None = None) -> ClipReader:
        """A reader of samples, from the feature cache if there is one.

        Args:
            planner: planner of the tokeniser.
            target: plan of the decoder's target frames; None: no decoder.
            seed: random seed of the augmentation, for training; None: no augmentation.
        """
        if self.cache is not None:
            return CachedReader(self.cache, planner, target)
        return self.frame_reader(planner, target, seed=seed)

    def frame_reader(
        self, planner: Planner, target: TargetPlan | None = None, *, seed: int | None = None
    ) -> ClipReader:
        """A reader that decodes clips, also if there is a cache."""
        return FrameReader(
            planner,
            self.clip,
            frames_fps=self.frames_fps,
            target=target,
            augmentation=None if seed is None else self.augmentation,
            seed=seed or 0,
        )

    def sampler(self, *, seed: int, start: int = 0, rank: int = 0, world_size: int = 1) -> Sampler[SampleKey]:
        """The endless order of training clips, after the first `start` samples of this rank."""
        number = len(self.clips("train"))
        return EpochSampler(number, seed=seed, rank=rank, world_size=world_size, start=start)
