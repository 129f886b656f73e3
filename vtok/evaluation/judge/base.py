"""The contract of all judges, which compare generated videos with what is true of clips."""

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
        seen: value that the judge sees; None if it sees none of the choices.
        truth: true value of the clip.
        choices: possible values, for the level of chance; empty if unknown.
    """

    seen: str | None
    truth: str
    choices: tuple[str, ...]

    @property
    def right(self) -> bool:
        return self.seen == self.truth

    @property
    def chance(self) -> float:
        """The probability of a right verdict by random guessing; 0 if unknown."""
        return 1 / len(self.choices) if self.choices else 0.0


class Judge(ABC):
    """Says what a generated video shows.

    Attributes:
        synthetic_only: whether it can judge only the synthetic clips of data=shapes.
        uses_the_model: whether it asks the model that generated the videos.
    """

    synthetic_only: ClassVar[bool] = False
    uses_the_model: ClassVar[bool] = False

    def prepare(self) -> None:  # noqa: B027 - most judges need nothing
        """Load what the judge needs, before training starts.

        Raises:
            UserError: the judge's weights cannot be loaded.
        """

    def release(self) -> None:  # noqa: B027 - most judges hold nothing
        """Move the judge's weights off the device, at the end of an evaluation."""

    @abstractmethod
    def truths(self, clip: Clip) -> Mapping[str, str]:
        """The true values by category that a video of `clip` should show; empty if the judge cannot judge it."""

    def can_judge(self, clip: Clip) -> bool:
        """Whether videos of `clip` can be judged in any category."""
        return bool(self.truths(clip))

    @abstractmethod
    def __call__(
        self,
        model: VideoLanguageModel,
        videos: Tensor,
        clips: Sequence[Clip],
        *,
        num_frames: int,
        intervals: Sequence[float],
    ) -> list[dict[str, Verdict]]:
        """Verdicts on each video by category. The categories are those of `truths`.

        Args:
            model: the model that generated the videos.
            videos: (B, F, 3, H, W) uint8, frames evenly spaced over a clip.
            clips: B clips, one for each video, that say what it should show.
            num_frames: number of frames of a clip.
            intervals: B seconds between two frames of each clip, see `ClipSample.interval`.
        """
