"""`alignment`: does the model's text agree with the video?

In the spirit of TV-Align (VTok, section 4), not that benchmark. Three measures on held-out clips, each by category:
multiple choice (the choice with the greatest likelihood as the answer), yes or no (the same with two choices), and
captions (written freely, then searched for the true attribute).
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from tqdm import tqdm

from vtok.batch import stack_frames, stack_text
from vtok.data import Clip, ClipSample, Question
from vtok.data.stable import stable_hash
from vtok.evaluation.interval import wilson
from vtok.evaluation.loading import Loaded
from vtok.mllm import IGNORED
from vtok.model import DESCRIBE, VideoLanguageModel, select
from vtok.tokeniser import VideoTokens

PREFIX = {"choice": "alignment", "yes_no": "alignment_yes_no", "caption": "caption"}
CAPTION, CAPTION_CHOICES = "caption", 4


@dataclass
class Tally:
    """Right answers, questions, and the right answers that guessing would give."""

    right: int = 0
    total: int = 0
    guessed: float = 0.0

    def add(self, right: bool, chance: float) -> None:
        self.right += right
        self.total += 1
        self.guessed += chance


@dataclass(frozen=True)
class Example:
    """One answered clip for a contact sheet: its frames (K, 3, H, W) and (question, answer, truth) of each question."""

    frames: Tensor
    answers: list[tuple[str, str, str]]


@dataclass
class Evaluation:
    """The result: tallies by (measure, category), the first clips with answers, and (path, reason) of broken clips."""

    tallies: dict[tuple[str, str], Tally] = field(default_factory=lambda: defaultdict(Tally))
    examples: list[Example] = field(default_factory=list)
    clips: int = 0
    bad: list[tuple[str, str]] = field(default_factory=list)

    def metrics(self) -> dict[str, float]:
        """Flat figures: `alignment/colour` and the like.

        Beside each there are `_low` and `_high` (95 %), `_chance` and `_questions`.
        """
        figures: dict[str, float] = {"evaluation/clips": float(self.clips)}
        for (measure, category), tally in sorted(self.tallies.items()):
            name = f"{PREFIX[measure]}/{category}"
            low, high = wilson(tally.right, tally.total)
            figures |= {name: tally.right / tally.total, f"{name}_low": low, f"{name}_high": high}
            if measure != "caption":
                figures[f"{name}_chance"] = tally.guessed / tally.total
            figures[f"{name}_questions"] = float(tally.total)
        return figures

    def table(self) -> str:
        """The figures for a person."""
        rows = [f"{'':<33}{'accuracy':>9}   {'95 % interval':<14}{'chance':>7}{'questions':>11}"]
        for (measure, category), tally in sorted(self.tallies.items()):
            low, high = wilson(tally.right, tally.total)
            chance = "" if measure == "caption" else f"{tally.guessed / tally.total:.0%}"
            name = f"{PREFIX[measure]}/{category}"
            interval = f"{low:.0%} to {high:.0%}"
            rows.append(f"{name:<33}{tally.right / tally.total:>9.1%}   {interval:<14}{chance:>7}{tally.total:>11}")
        return "\n".join(rows)


@dataclass(frozen=True)
class Alignment:
    """Settings of the benchmark, and the benchmark: call it. The option's YAML says what each setting means."""

    max_clips: int | None
    batch_size: int
    sequences_at_once: int
    captions: bool
    max_new_tokens: int

    @torch.no_grad()
    def __call__(
        self,
        model: VideoLanguageModel,
        batches: Iterable[Loaded],
        *,
        captions: Sequence[str] = (),
        examples: int = 0,
        progress: bool = True,
    ) -> Evaluation:
        """Answer every question about the clips of `batches`.

        Args:
            model: the model; it is left in eval mode.
            batches: the clips.
            captions: of all clips there are, to make wrong choices of for clips that have no questions.
            examples: of so many clips the frames and answers are kept.
            progress: show a bar.
        """
        device = next(model.parameters()).device
        model.eval()
        result = Evaluation()
        bar = tqdm(batches, desc="evaluating", unit="batch", leave=False, disable=None if progress else True)
        for loaded in bar:
            result.bad += loaded.bad
            samples = loaded.samples
            if not samples:
                continue
            video = model.tokeniser.encode_planned(stack_frames(samples).to(device))
            asked = [
                (row, question)
                for row, sample in enumerate(samples)
                for question in questions_of(sample.clip, captions)
            ]
            answers = self._choose(model, video, asked)
            for (_, question), answer in zip(asked, answers, strict=True):
                tally = result.tallies[question.kind, question.category]
                tally.add(answer == question.answer, 1 / len(question.choices))
            if self.captions:
                self._caption(model, samples, result)
            for row, sample in enumerate(samples[: max(0, examples - len(result.examples))]):
                told = [
                    (question.text, answer, question.answer)
                    for (other, question), answer in zip(asked, answers, strict=True)
                    if other == row and question.kind == "choice"
                ]
                result.examples.append(Example(sample.frames, told))
            result.clips += len(samples)
        return result

    def _choose(
        self, model: VideoLanguageModel, video: VideoTokens, asked: Sequence[tuple[int, Question]]
    ) -> list[str]:
        """The likeliest choice for each (clip, question), the answer's end token counted in.

        Captions, which differ in length, are compared by their mean a token.
        """
        rows = [row for row, question in asked for _ in question.choices]
        chats = [
            model.mllm.chat.encode([(question.text, choice)], num_video_tokens=int(video.mask[row].sum()))
            for row, question in asked
            for choice in question.choices
        ]
        by_token = [question.category == CAPTION for _, question in asked for _ in question.choices]
        scores: list[float] = []
        for part in chunks(len(rows), self.sequences_at_once):
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

    def _caption(self, model: VideoLanguageModel, samples: Sequence[ClipSample], result: Evaluation) -> None:
        told = [sample for sample in samples if sample.clip.attributes]
        if not told:
            return
        frames = stack_frames(told).to(next(model.parameters()).device)
        captions = model.describe(frames, [DESCRIBE] * len(told), max_new_tokens=self.max_new_tokens)
        for sample, caption in zip(told, captions, strict=True):
            for category, truth in sample.clip.attributes.items():
                result.tallies["caption", category].add(mentions(caption, truth), 0.0)


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


def mentions(caption: str, truth: str) -> bool:
    """Whether the words of `truth` stand next to each other in `caption`; a plural counts as its word."""
    return re.search(rf"\b{re.escape(truth)}(s|es)?\b", caption) is not None


def chunks(total: int, size: int) -> Iterator[slice]:
    return (slice(start, start + size) for start in range(0, total, size))
