"""Whether the texts of held-out clips fit into the language model's context, together with the video tokens."""

from collections.abc import Iterator
from dataclasses import dataclass

from vtok.data import Clip, ClipSample
from vtok.data.plan import StridePlanner
from vtok.mllm import LengthCheck
from vtok.model.video_language_model import DESCRIBE, VideoLanguageModel


@dataclass(frozen=True)
class ClipTextCheck:
    """For `ClipDataset`: the reason why the text of a clip is too long; None if it fits. Picklable.

    Attributes:
        text_limit: chat and context length of the language model.
        planner: planner of the tokeniser.
        generated_frames: number of frames of the videos generated from captions; None if none are generated.
    """

    text_limit: LengthCheck
    planner: StridePlanner
    generated_frames: int | None

    def __call__(self, sample: ClipSample) -> str | None:
        tokens = self.planner.num_tokens(sample.num_planned)
        if self.generated_frames is not None:
            # The longer one of the clip and the video generated from its caption.
            tokens = max(tokens, self._max_tokens(self.generated_frames))
            if (reason := self._prompt_problem(sample.clip.caption or "", tokens)) is not None:
                return reason
        reasons = (self._turn_problem(turn, tokens) for turn in turns_of(sample.clip))
        return next((reason for reason in reasons if reason is not None), None)

    def caption_fits(self, caption: str, num_frames: int) -> bool:
        """Whether a caption fits as an answer about a clip of `num_frames` frames."""
        tokens = self.planner.num_tokens(self.planner.max_frames(num_frames))
        return self._turn_problem((DESCRIBE, caption), tokens) is None

    def prompt_fits(self, caption: str) -> bool:
        """Whether a caption fits as the prompt of a generated video."""
        if self.generated_frames is None:
            return True
        return self._prompt_problem(caption, self._max_tokens(self.generated_frames)) is None

    def _max_tokens(self, frames: int) -> int:
        return self.planner.num_tokens(self.planner.max_frames(frames))

    def _prompt_problem(self, caption: str, tokens: int) -> str | None:
        return self.text_limit.too_long(
            self.text_limit.chat.encode_video(caption, num_video_tokens=tokens), num_video_tokens=tokens
        )

    def _turn_problem(self, turn: tuple[str, str], tokens: int) -> str | None:
        if self.text_limit.fits_for_sure(turn, num_video_tokens=tokens):
            return None
        return self.text_limit.too_long(
            self.text_limit.chat.encode_branches([turn], num_video_tokens=tokens), num_video_tokens=tokens
        )


def clip_text_check(model: VideoLanguageModel, *, generated_frames: int | None = None) -> ClipTextCheck:
    """The length check of a model, with `generated_frames` for videos generated from captions."""
    return ClipTextCheck(
        LengthCheck(model.mllm.chat, model.mllm.context_length), model.tokeniser.planner, generated_frames
    )


def turns_of(clip: Clip) -> Iterator[tuple[str, str]]:
    """All (question, choice) pairs of a clip; its caption as the answer if it has none."""
    turns = [(one.text, choice) for one in clip.questions for choice in one.choices]
    yield from turns or [(DESCRIBE, clip.caption or "")]
