"""The contract of all judges: made videos and the clips they ought to be like in, what is seen of the truth out."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from vtok.data import Clip
from vtok.model import VideoLanguageModel


@dataclass(frozen=True)
class Verdict:
    """What a judge sees in a video.

    Attributes:
        seen: None where the judge cannot tell.
        truth: of the clip.
        choices: the values that there are to see, for the level of chance; none where they are not known.
    """

    seen: str | None
    truth: str
    choices: tuple[str, ...]

    @property
    def right(self) -> bool:
        return self.seen == self.truth

    @property
    def chance(self) -> float:
        """The share of guesses that are right; 0 where it is not known."""
        return 1 / len(self.choices) if self.choices else 0.0


class Judge(ABC):
    """Says what is to be seen in a video that a model made.

    Attributes:
        synthetic_only: whether it judges clips alone that this project draws.
        uses_the_model: whether the model that made the videos answers.
    """

    synthetic_only: ClassVar[bool] = False
    uses_the_model: ClassVar[bool] = False

    def prepare(self) -> None:  # noqa: B027 - most judges need nothing
        """Get what it takes to judge, before a model is trained that is to be judged.

        Raises:
            UserError: it cannot be had.
        """

    def release(self) -> None:  # noqa: B027 - most judges hold nothing
        """Free the device of what it took to judge, when all videos of an evaluation are judged."""

    @abstractmethod
    def truths(self, clip: Clip) -> Mapping[str, str]:
        """What there is to see in videos that ought to be like `clip`, by category; empty where nothing can be said."""

    def judges(self, clip: Clip) -> bool:
        """Whether anything can be said about videos that ought to be like `clip`."""
        return bool(self.truths(clip))

    @abstractmethod
    def __call__(
        self, model: VideoLanguageModel, videos: Tensor, clips: Sequence[Clip], *, num_frames: int
    ) -> list[dict[str, Verdict]]:
        """For each video its verdicts by category; those of `truths`, whatever the video is.

        Args:
            model: the model that made the videos.
            videos: (B, F, 3, H, W) uint8, evenly spread over a clip.
            clips: B clips that the videos ought to be like.
            num_frames: frames of a clip.
        """
