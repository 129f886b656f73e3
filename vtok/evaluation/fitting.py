"""Whether what is asked about a held-out clip fits the language model beside the video's tokens."""

from collections.abc import Iterator
from dataclasses import dataclass

from vtok.data import Clip, ClipSample
from vtok.mllm import ChatTokeniser
from vtok.mllm.chat import EncodedChat
from vtok.model import DESCRIBE, VideoLanguageModel
from vtok.plan import StridePlanner

# A token is a byte of text or more; what the chat template adds is counted apart, with so many bytes to spare.
SPARE = 16


@dataclass(frozen=True)
class Fits:
    """For `ClipDataset`: why the text of a clip is too long, None where it is not. Picklable.

    Attributes:
        chat: of the language model.
        planner: of the tokeniser.
        context_length: of the language model.
        template_length: tokens of the chat template around a question and an answer.
        made_frames: frames of the videos that are made of captions; None where none are.
    """

    chat: ChatTokeniser
    planner: StridePlanner
    context_length: int
    template_length: int
    made_frames: int | None

    def __call__(self, sample: ClipSample) -> str | None:
        tokens = self.planner.num_tokens(sample.num_planned)
        if self.made_frames is not None:
            # Of the clip itself and of what is made of its caption, whichever is longer.
            tokens = max(tokens, self.planner.num_tokens(self.planner.max_frames(self.made_frames)))
            longest = self.chat.encode_video(sample.clip.caption or "", num_video_tokens=tokens)
            if (reason := self._too_long(longest, tokens)) is not None:
                return reason
        turns = (turn for turn in turns_of(sample.clip) if self._may_be_too_long(turn, tokens))
        chats = (self.chat.encode([turn], num_video_tokens=tokens) for turn in turns)
        return next((reason for chat in chats if (reason := self._too_long(chat, tokens)) is not None), None)

    def caption(self, caption: str, num_frames: int) -> bool:
        """Whether a caption fits as an answer about any clip of `num_frames` frames."""
        tokens, turn = self.planner.num_tokens(self.planner.max_frames(num_frames)), (DESCRIBE, caption)
        fits = not self._may_be_too_long(turn, tokens)
        return fits or self._too_long(self.chat.encode([turn], num_video_tokens=tokens), tokens) is None

    def _may_be_too_long(self, turn: tuple[str, str], tokens: int) -> bool:
        return self.template_length + tokens + sum(len(text.encode()) for text in turn) + SPARE > self.context_length

    def _too_long(self, chat: EncodedChat, tokens: int) -> str | None:
        if len(chat.ids) <= self.context_length:
            return None
        return (
            f"{tokens} video tokens and the text make {len(chat.ids)} tokens, more than "
            f"mllm.context_length={self.context_length}; shorten the text or raise the length"
        )


def fits_of(model: VideoLanguageModel, *, made_frames: int | None = None) -> Fits:
    """What fits a model."""
    chat = model.mllm.chat
    return Fits(
        chat=chat,
        planner=model.tokeniser.planner,
        context_length=model.mllm.context_length,
        template_length=len(chat.encode([("a", "b")], num_video_tokens=0).ids),
        made_frames=made_frames,
    )


def turns_of(clip: Clip) -> Iterator[tuple[str, str]]:
    """All questions about a clip with each choice; with its caption where it has none."""
    turns = [(one.text, choice) for one in clip.questions for choice in one.choices]
    yield from turns or [(DESCRIBE, clip.caption or "")]
