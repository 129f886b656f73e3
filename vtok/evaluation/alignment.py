"""`alignment`: does the model's text agree with the video?

In the spirit of TV-Align (VTok, section 4), not that benchmark. Three measures on held-out clips, each by category:
multiple choice (the choice with the greatest likelihood as the answer), yes or no (the same with two choices), and
captions (written freely, then searched for the true attribute).
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from tqdm import tqdm

from vtok.batch import stack_frames
from vtok.data import ClipSample
from vtok.evaluation.choice import choose, mention, questions_of
from vtok.evaluation.loading import Loaded
from vtok.evaluation.tally import Tally, figures, join_findings, names_of, table
from vtok.model import DESCRIBE, VideoLanguageModel

PREFIX = {"choice": "alignment", "yes_no": "alignment_yes_no", "caption": "caption"}


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
        """Flat figures: `alignment/colour` and the like, of a mixture of data sets `alignment/SOURCE/colour` too.

        Beside each there are `_low` and `_high` (95 %), `_chance` and `_questions`.
        """
        return {"evaluation/clips": float(self.clips), **figures(self._named())}

    def table(self) -> str:
        """The figures for a person."""
        return table(self._named())

    @classmethod
    def joined(cls, parts: Sequence["Evaluation"], *, examples: int) -> "Evaluation":
        """The result on all clips, of those of processes that took every n-th of them."""
        whole = cls()
        join_findings(whole, parts, examples=examples)
        return whole

    def _named(self) -> dict[str, Tally]:
        order = sorted(self.tallies, key=lambda name: (name[0], "/" in name[1], name[1]))
        return {f"{PREFIX[measure]}/{category}": self.tallies[measure, category] for measure, category in order}


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
        captions: Mapping[str, Sequence[str]] | None = None,
        examples: int = 0,
        progress: bool = True,
    ) -> Evaluation:
        """Answer every question about the clips of `batches`.

        Args:
            model: the model; it is left in eval mode.
            batches: the clips.
            captions: of all clips there are, by their source, to make wrong choices of for clips of the same source
                that have no questions.
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
                for question in questions_of(sample.clip, (captions or {}).get(sample.clip.source, ()))
            ]
            answers = choose(model, video, asked, sequences_at_once=self.sequences_at_once)
            for (row, question), answer in zip(asked, answers, strict=True):
                for name in names_of(question.category, samples[row].clip):
                    tally = result.tallies[question.kind, name]
                    tally.add(answer == question.answer, 1 / len(question.choices))
            if self.captions:
                self._caption(model, samples, result)
            for row, sample in enumerate(samples[: max(0, examples - len(result.examples))]):
                told = [
                    (question.text, answer, question.answer)
                    for (other, question), answer in zip(asked, answers, strict=True)
                    if other == row and question.kind == "choice"
                ]
                if sample.frames is not None:
                    result.examples.append(Example(sample.frames, told))
            result.clips += len(samples)
        return result

    def _caption(self, model: VideoLanguageModel, samples: Sequence[ClipSample], result: Evaluation) -> None:
        told = [sample for sample in samples if sample.clip.attributes]
        if not told:
            return
        frames = stack_frames(told).to(next(model.parameters()).device)
        captions = model.describe(frames, [DESCRIBE] * len(told), max_new_tokens=self.max_new_tokens)
        for sample, caption in zip(told, captions, strict=True):
            for category, truth in sample.clip.attributes.items():
                for name in names_of(category, sample.clip):
                    result.tallies["caption", name].add(mention(caption, truth) is not None, 0.0)
