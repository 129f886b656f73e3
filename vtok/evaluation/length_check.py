"""Whether what is asked about a held-out clip fits the language model beside the video's tokens."""

from collections.abc import Iterator
from dataclasses import dataclass

from vtok.data import Clip, ClipSample
from vtok.data.plan import StridePlanner
from vtok.mllm import Room
from vtok.model.video_language_model import DESCRIBE, VideoLanguageModel


@dataclass(frozen=True)
class Fits:
    """For `ClipDataset`: why the text of a clip is too long, None where it is not. Picklable.

    Attributes:
        room: of the language model.
        planner: of the tokeniser.
        made_frames: frames of the videos that are made of captions; None where none are.
    """

    room: Room
    planner: StridePlanner
    made_frames: int | None

    def __call__(self, sample: ClipSample) -> str | None:
        tokens = self.planner.num_tokens(sample.num_planned)
        if self.made_frames is not None:
            # Of the clip itself and of what is made of its caption, whichever is longer.
            tokens = max(tokens, self._made_tokens(self.made_frames))
            if (reason := self._lack_as_prompt(sample.clip.caption or "", tokens)) is not None:
                return reason
        reasons = (self._lack(turn, tokens) for turn in turns_of(sample.clip))
        return next((reason for reason in reasons if reason is not None), None)

    def caption(self, caption: str, num_frames: int) -> bool:
        """Whether a caption fits as an answer about any clip of `num_frames` frames."""
        tokens = self.planner.num_tokens(self.planner.max_frames(num_frames))
        return self._lack((DESCRIBE, caption), tokens) is None

    def prompt(self, caption: str) -> bool:
        """Whether a video can be made of a caption."""
        return self.made_frames is None or self._lack_as_prompt(caption, self._made_tokens(self.made_frames)) is None

    def _made_tokens(self, frames: int) -> int:
        return self.planner.num_tokens(self.planner.max_frames(frames))

    def _lack_as_prompt(self, caption: str, tokens: int) -> str | None:
        return self.room.lack(self.room.chat.encode_video(caption, num_video_tokens=tokens), num_video_tokens=tokens)

    def _lack(self, turn: tuple[str, str], tokens: int) -> str | None:
        if self.room.is_ample([turn], num_video_tokens=tokens):
            return None
        return self.room.lack(self.room.chat.encode([turn], num_video_tokens=tokens), num_video_tokens=tokens)


def fits_of(model: VideoLanguageModel, *, made_frames: int | None = None) -> Fits:
    """What fits a model."""
    return Fits(Room(model.mllm.chat, model.mllm.context_length), model.tokeniser.planner, made_frames)


def turns_of(clip: Clip) -> Iterator[tuple[str, str]]:
    """All questions about a clip with each choice; with its caption where it has none."""
    turns = [(one.text, choice) for one in clip.questions for choice in one.choices]
    yield from turns or [(DESCRIBE, clip.caption or "")]
