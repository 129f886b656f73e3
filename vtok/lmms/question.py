"""A question of lmms-eval's about one video, as it is asked of a run's model."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vtok.common.errors import UserError

MAX_NEW_TOKENS = 64


@dataclass(frozen=True)
class Question:
    """A text about a video.

    Attributes:
        text: what is asked.
        video: a video file or a folder of frames.
        where: the task and the number of the question in it, for messages.
    """

    text: str
    video: str
    where: str


@dataclass(frozen=True)
class Limits:
    """Where an answer ends: after so many tokens, or before one of these texts."""

    max_new_tokens: int
    until: tuple[str, ...]

    def cut(self, answer: str) -> str:
        """The answer up to the first of the texts."""
        return answer[: min((at for text in self.until if (at := answer.find(text)) >= 0), default=len(answer))]


def question_of(text: str, doc: Any, doc_to_visual: Callable[[Any], Any] | None, *, where: str) -> Question:
    """The question about a task's document.

    Raises:
        UserError: it is about something else than one video that lies in a file.
    """
    visuals = doc_to_visual(doc) if doc_to_visual is not None else None
    shown = visuals if isinstance(visuals, list | tuple) else [] if visuals is None else [visuals]
    if len(shown) != 1 or not isinstance(shown[0], str | Path):
        kinds = ", ".join(type(one).__name__ for one in shown[:3]) + (", ..." if len(shown) > 3 else "")
        raise UserError(
            f"{where}: the question is about {len(shown)} visuals{f' ({kinds})' if shown else ''}; vtok answers about "
            "one video, given as the path of its file: choose tasks of video with --tasks."
        )
    return Question(text, str(shown[0]), where)


def limits_of(settings: Mapping[str, Any] | None, *, where: str) -> Limits:
    """What a task's generation_kwargs say of the end of an answer.

    Raises:
        UserError: they ask for answers that are not written greedily, or for none.
    """
    settings = settings or {}
    until = settings.get("until") or ()
    texts = (until,) if isinstance(until, str) else tuple(until)
    # As in transformers, the temperature is read where answers are drawn alone.
    drawn = settings.get("do_sample", bool(settings.get("temperature")))
    if drawn or (settings.get("num_beams") or 1) > 1:
        raise UserError(
            f"{where}: the task wants answers that are drawn or searched for, and vtok writes them greedily; say "
            "--gen_kwargs do_sample=False,num_beams=1."
        )
    tokens = settings.get("max_new_tokens", MAX_NEW_TOKENS)
    if not isinstance(tokens, int) or tokens < 1:
        raise UserError(f"{where}: max_new_tokens={tokens}: allowed are whole numbers from 1 on.")
    return Limits(tokens, tuple(text for text in texts if text))


def chunks(numbers: Sequence[int], size: int) -> list[Sequence[int]]:
    return [numbers[start : start + size] for start in range(0, len(numbers), size)]
