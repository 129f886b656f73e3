"""Multiple choice: the questions about a clip, a model's most likely choices, and the choices that a text names."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from vtok.common.finite import check_finite
from vtok.common.hashing import stable_hash
from vtok.data import Clip, Question
from vtok.evaluation.answers import SCORES, best_choice
from vtok.mllm import IGNORED
from vtok.model.batch import stack_text
from vtok.model.video_language_model import DESCRIBE, VideoLanguageModel
from vtok.tokeniser import VideoTokens

CAPTION, CAPTION_CHOICES = "caption", 4
# Most answers that share a row with a clip's tokens. Attention compares all of a row's tokens.
BRANCHES = 32
# A clip's row, and turns about it.
Group = tuple[int, list[tuple[str, str]]]


@dataclass
class Chooser:
    """Scores the choices of questions about clips by their likelihood. The end token is part of an answer.

    Every token lowers the log-probability of an answer, so answers of different lengths need a score:

    - token: mean log-probability of a token (Brown et al. 2020, section 2.4). If all choices have the same number of
      tokens, it chooses as `total` does.
    - total: log-probability of the answer. An untrained model always chooses the shortest answer by it.
    - prior: log-probability of the answer minus that without the video (Holtzman et al. 2021). This removes the effects
      of the answer's length and of how frequent its words are.

    Attributes:
        model: the model.
        sequences_at_once: largest number of question-and-choice sequences in a forward pass of the language model.
        scores: scores to compute.
        priors: log-probabilities without a video by (question, choice), each computed once.
    """

    model: VideoLanguageModel
    sequences_at_once: int
    scores: Sequence[str] = SCORES
    priors: dict[tuple[str, str], float] = field(default_factory=dict)

    def __call__(self, video: VideoTokens, asked: Sequence[tuple[int, Question]]) -> list[dict[str, tuple[float, ...]]]:
        """The scores of the choices, in nats, for each (row of the clip, question).

        Raises:
            UserError: a log-probability is not a finite number.
        """
        # In the order of their texts: another order of the choices must not change a score by a rounding error.
        orders = [sorted(range(len(one.choices)), key=one.choices.__getitem__) for _, one in asked]
        rows = [row for row, one in asked for _ in one.choices]
        turns = [
            (one.text, one.choices[place]) for (_, one), order in zip(asked, orders, strict=True) for place in order
        ]
        totals, lengths = self._logprobs(video, rows, turns)
        by_score = {"total": totals, "token": totals / lengths.clamp(min=1)}
        if "prior" in self.scores and turns:
            by_score["prior"] = totals - self._without_video(video, turns)
        found, start = [], 0
        for order in orders:
            here = slice(start, start + len(order))
            inverse = torch.tensor(order).argsort()
            found.append({score: tuple(by_score[score][here][inverse].tolist()) for score in self.scores})
            start = here.stop
        return found

    def _without_video(self, video: VideoTokens, turns: Sequence[tuple[str, str]]) -> Tensor:
        """Log-probabilities (N,) of the answers without a video; those that are not in `priors` are computed."""
        new = [turn for turn in dict.fromkeys(turns) if turn not in self.priors]
        nothing = video.at(torch.zeros(1, 0, dtype=torch.long, device=video.tokens.device))
        found, _ = self._logprobs(nothing, [0] * len(new), new)
        self.priors.update(zip(new, found.tolist(), strict=True))
        return torch.tensor([self.priors[turn] for turn in turns], dtype=torch.float64)

    def _logprobs(
        self, video: VideoTokens, rows: Sequence[int], turns: Sequence[tuple[str, str]]
    ) -> tuple[Tensor, Tensor]:
        """Log-probabilities (N,) of answers about the clips `rows`, float64 on the CPU, and their lengths in tokens.

        Turns about one clip are branches of a row, if the model reads branches.
        """
        model, device = self.model, video.tokens.device
        numbers = video.mask.sum(1).tolist()
        most = min(BRANCHES, self.sequences_at_once) if model.reads_branches else 1
        groups: list[Group] = []
        for row, turn in zip(rows, turns, strict=True):
            if groups and groups[-1][0] == row and len(groups[-1][1]) < most:
                groups[-1][1].append(turn)
            else:
                groups.append((row, [turn]))
        totals, lengths = [torch.zeros(0, dtype=torch.float64)], [torch.zeros(0, dtype=torch.long)]
        for part in parts(groups, self.sequences_at_once):
            chats = [model.mllm.chat.encode_branches(own, num_video_tokens=numbers[row]) for row, own in part]
            text = stack_text(chats, pad_id=model.mllm.chat.pad_id).to(device)
            index = torch.tensor([row for row, _ in part], device=device)
            # On the CPU, where the order of a sum is always the same.
            logprobs = model.text_scores(video.select(index), text).logprobs.cpu().double()
            text = text.to(torch.device("cpu"))
            # Without branches all answers are the first one's. 0, the padding's, holds none.
            turn_of = torch.ones_like(text.ids) if text.turn is None else text.turn
            for summed, values in ((totals, logprobs), (lengths, (text.targets != IGNORED).long())):
                sums = values.new_zeros(len(chats), most + 1).scatter_add(1, turn_of, values)
                summed += [own[1 : 1 + len(turns)] for own, (_, turns) in zip(sums, part, strict=True)]
        found = torch.cat(totals)
        check_finite(found, what="the language model's log-probabilities of answers")
        return found, torch.cat(lengths)


def choose(
    model: VideoLanguageModel,
    video: VideoTokens,
    asked: Sequence[tuple[int, Question]],
    *,
    sequences_at_once: int,
) -> list[str]:
    """The most likely choice by the score `token`, for each (row of the clip, question); see `Chooser`."""
    scores = Chooser(model, sequences_at_once, scores=("token",))(video, asked)
    return [best_choice(one.choices, by_score["token"]) for (_, one), by_score in zip(asked, scores, strict=True)]


def questions_of(clip: Clip, captions: Sequence[str]) -> list[Question]:
    """The clip's questions with choices; without any, the question which of four captions belongs to the clip.

    The three wrong captions are drawn from `captions` by a hash of the clip, so they are the same in every run.
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
    """The first place of `words` in `text`; plurals match as well."""
    return next(mentions(text, words), None)


def mentions(text: str, words: str) -> Iterator[re.Match[str]]:
    """Every place of `words` in `text`, including overlapping ones; plurals match as well."""
    pattern = re.compile(rf"(?<!\w){re.escape(words)}(s|es)?(?!\w)")
    place = pattern.search(text)
    while place is not None:
        yield place
        place = pattern.search(text, place.start() + 1)


def named_values(text: str, values: Iterable[str]) -> set[str]:
    """The `values` that a text names. If "dark green" is a value, it does not count as "green"."""
    spans = [(place.start(), place.end(), value) for value in set(values) for place in mentions(text, value)]
    return {
        value
        for start, end, value in spans
        if not any(first <= start and end <= last and last - first > end - start for first, last, _ in spans)
    }


def names_only(text: str, truth: str, *, others: Iterable[str]) -> bool:
    """Whether a text names the truth and none of the other values."""
    return named_values(text, {truth, *others}) == {truth}


def parts(groups: Sequence[Group], most: int) -> Iterator[list[Group]]:
    """The groups in their order, in parts of at most `most` turns each, or of one group."""
    part: list[Group] = []
    for group in groups:
        if part and sum(len(turns) for _, turns in part) + len(group[1]) > most:
            yield part
            part = []
        part.append(group)
    if part:
        yield part
