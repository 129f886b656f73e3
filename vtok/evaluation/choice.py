"""Multiple choice: the choices of a clip's questions, which of them a model finds likeliest, which a text names."""

import re
from collections.abc import Iterator, Sequence

import torch

from vtok.batch import stack_text
from vtok.data import Clip, Question
from vtok.data.stable import stable_hash
from vtok.mllm import IGNORED
from vtok.model import DESCRIBE, VideoLanguageModel, select
from vtok.tokeniser import VideoTokens

CAPTION, CAPTION_CHOICES = "caption", 4


def choose(
    model: VideoLanguageModel,
    video: VideoTokens,
    asked: Sequence[tuple[int, Question]],
    *,
    sequences_at_once: int,
) -> list[str]:
    """The likeliest choice for each (clip, question), the answer's end token counted in.

    Captions, which differ in length, are compared by their mean a token. `sequences_at_once` question-and-choice
    sequences go through the language model together.
    """
    rows = [row for row, question in asked for _ in question.choices]
    chats = [
        model.mllm.chat.encode([(question.text, choice)], num_video_tokens=int(video.mask[row].sum()))
        for row, question in asked
        for choice in question.choices
    ]
    by_token = [question.category == CAPTION for _, question in asked for _ in question.choices]
    scores: list[float] = []
    for part in chunks(len(rows), sequences_at_once):
        text = stack_text(chats[part], pad_id=model.mllm.chat.pad_id).to(video.tokens.device)
        index = torch.tensor(rows[part], device=video.tokens.device)
        logprobs = model.text_logprobs(select(video, index), text).sum(1)
        lengths = (text.labels != IGNORED).sum(1)
        whole = torch.tensor([by_token[row] for row in range(*part.indices(len(rows)))], device=logprobs.device)
        scores += torch.where(whole, logprobs / lengths, logprobs).tolist()
    chosen, start = [], 0
    for _, question in asked:
        own = scores[start : start + len(question.choices)]
        chosen.append(question.choices[own.index(max(own))])
        start += len(own)
    return chosen


def questions_of(clip: Clip, captions: Sequence[str]) -> list[Question]:
    """The clip's own questions that have choices; of a clip that has none, which of four captions is its own.

    The three others are drawn from `captions` by a hash of the clip, so that they are the same in every run.
    """
    own = [question for question in clip.questions if question.choices]
    if own or not clip.caption:
        return own
    others = sorted(set(captions) - {clip.caption})
    others.sort(key=lambda caption: stable_hash("distractor", clip.id, caption))
    choices = tuple(sorted([clip.caption, *others[: CAPTION_CHOICES - 1]]))
    if len(choices) < 2:
        return []
    return [Question(category=CAPTION, kind="choice", text=DESCRIBE, answer=clip.caption, choices=choices)]


def mention(text: str, words: str) -> re.Match[str] | None:
    """Where `words` stand next to each other in `text` for the first time; a plural counts as its word."""
    return re.search(rf"(?<!\w){re.escape(words)}(s|es)?(?!\w)", text)


def chunks(total: int, size: int) -> Iterator[slice]:
    return (slice(start, start + size) for start in range(0, total, size))
