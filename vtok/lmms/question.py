"""Converts a request of lmms-eval to a question about one video."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vtok.common.errors import UserError

MAX_NEW_TOKENS = 64


@dataclass(frozen=True)
class VideoQuestion:
    """A question about a video.

    Attributes:
        text: text of the question.
        video: video file or folder of frames.
        where: task and number of the question in it, for messages.
    """

    text: str
    video: str
    where: str


@dataclass(frozen=True)
class Limits:
    """Where an answer ends.

    Attributes:
        max_new_tokens: longest answer, in tokens.
        until: strings before which the answer ends.
    """

    max_new_tokens: int
    until: tuple[str, ...]

    def truncate(self, answer: str) -> str:
        """The answer up to the first of the strings in `until`."""
        return answer[: min((at for text in self.until if (at := answer.find(text)) >= 0), default=len(answer))]


def question_of(text: str, doc: Any, doc_to_visual: Callable[[Any], Any] | None, *, where: str) -> VideoQuestion:
    """The question about a task's document.

    Raises:
        UserError: if it is not about exactly one video file.
    """
    visuals = doc_to_visual(doc) if doc_to_visual is not None else None
    shown = visuals if isinstance(visuals, list | tuple) else [] if visuals is None else [visuals]
    if len(shown) != 1 or not isinstance(shown[0], str | Path):
        kinds = ", ".join(type(one).__name__ for one in shown[:3]) + (", ..." if len(shown) > 3 else "")
        raise UserError(
            f"{where}: the question is about {len(shown)} visuals{f' ({kinds})' if shown else ''}, and vtok answers "
            "questions about one video file. Choose video tasks in --tasks."
        )
    return VideoQuestion(text, str(shown[0]), where)


def limits_of(settings: Mapping[str, Any] | None, *, where: str) -> Limits:
    """The limits in a task's generation_kwargs.

    Raises:
        UserError: if they ask for sampling or beam search, or for less than one token.
    """
    settings = settings or {}
    until = settings.get("until") or ()
    texts = (until,) if isinstance(until, str) else tuple(until)
    # As in transformers, the temperature only has an effect if answers are sampled.
    samples = settings.get("do_sample", bool(settings.get("temperature")))
    if samples or (settings.get("num_beams") or 1) > 1:
        raise UserError(
            f"{where}: the task asks for sampling or beam search, and vtok decodes greedily. "
            "Use --gen_kwargs do_sample=False,num_beams=1."
        )
    tokens = settings.get("max_new_tokens", MAX_NEW_TOKENS)
    if not isinstance(tokens, int) or tokens < 1:
        raise UserError(
            f"{where}: max_new_tokens={tokens}: must be an integer >= 1. Use --gen_kwargs "
            f"max_new_tokens={MAX_NEW_TOKENS}."
        )
    return Limits(tokens, tuple(text for text in texts if text))
