"""`alignment`: does the model's text agree with the video?

In the spirit of TV-Align (VTok, section 4), not that benchmark. Three measures on held-out clips, each by category:
multiple choice (the choice that is likeliest as the answer, see `Chooser`), yes or no (the same with two choices), and
captions (written freely, then searched for the true attribute, and for others that are not true).
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from tqdm import tqdm

from vtok.common.finite import check_figures
from vtok.common.setting_types import Count
from vtok.data import ClipSample
from vtok.evaluation.accuracy import Score, Tally, accuracy_table, cluster_of, figures, join_findings, names_of
from vtok.evaluation.choice import Chooser, mention, questions_of, says
from vtok.evaluation.clips import Loaded
from vtok.model.batch import stack_frames
from vtok.model.video_language_model import DESCRIBE, VideoLanguageModel
from vtok.tokeniser import VideoTokens

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

        What stands beside each is told by `figures`.
        """
        numbers = {"evaluation/clips": float(self.clips), **figures(self._named())}
        check_figures(numbers)
        return numbers

    def table(self) -> str:
        """The figures for a person."""
        return accuracy_table(self._named())

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
    """Settings of the benchmark, and the benchmark: call it.

    Args:
        max_clips: largest number of held-out clips; null: all.
        batch_size: clips in a batch.
        sequences_at_once: question-and-choice sequences that go through the language model together.
        score: how choices are compared: token (mean log-probability of a token), total (of the answer, which prefers
            short ones) or prior (total, less that without the video); the metrics by each are reported.
        captions: write a caption of each clip and look for its attributes.
        max_new_tokens: longest caption, in tokens.
    """

    max_clips: Count | None = None
    batch_size: Count = 32
    sequences_at_once: Count = 512
    score: Score = "token"
    captions: bool = True
    max_new_tokens: Count = 32

    @torch.no_grad()
    def __call__(
        self,
        model: VideoLanguageModel,
        batches: Iterable[Loaded],
        *,
        captions: Mapping[str, Sequence[str]] | None = None,
        values: Mapping[str, Mapping[str, frozenset[str]]] | None = None,
        examples: int = 0,
        progress: bool = True,
    ) -> Evaluation:
        """Answer every question about the clips of `batches`.

        Args:
            model: the model; it is left in eval mode.
            batches: the clips.
            captions: of all clips there are, by their source, to make wrong choices of for clips of the same source
                that have no questions.
            values: what each attribute may be, by source and category: a written caption that names another value than
                the true one is wrong.
            examples: of so many clips the frames and answers are kept.
            progress: show a bar.

        Raises:
            UserError: the model's log-probabilities are not finite numbers.
        """
        device = next(model.parameters()).device
        model.eval()
        result, chooser = Evaluation(), Chooser(model, self.sequences_at_once)
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
            chosen = chooser(video, asked)
            answers = [by_score[self.score] for by_score in chosen]
            for (row, question), by_score in zip(asked, chosen, strict=True):
                right = {score: answer == question.answer for score, answer in by_score.items()}
                for name in names_of(question.category, samples[row].clip):
                    result.tallies[question.kind, name].add(
                        right[self.score],
                        1 / len(question.choices),
                        clip=cluster_of(samples[row].clip),
                        truth=question.answer,
                        choices=question.choices,
                        scored=right,
                    )
            if self.captions:
                self._caption(model, video, samples, result, values or {})
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

    def _caption(
        self,
        model: VideoLanguageModel,
        video: VideoTokens,
        samples: Sequence[ClipSample],
        result: Evaluation,
        values: Mapping[str, Mapping[str, frozenset[str]]],
    ) -> None:
        rows = [row for row, sample in enumerate(samples) if sample.clip.attributes]
        if not rows:
            return
        own = video.select(torch.tensor(rows, device=video.tokens.device))
        captions = model.answer(own, [DESCRIBE] * len(rows), max_new_tokens=self.max_new_tokens)
        for row, caption in zip(rows, captions, strict=True):
            clip = samples[row].clip
            for category, truth in clip.attributes.items():
                # What its own caption says is true of the clip, too: a second thing may have another colour.
                others = {
                    one for one in values.get(clip.source, {}).get(category, ()) if not mention(clip.caption or "", one)
                }
                right = says(caption, truth, others=others)
                for name in names_of(category, clip):
                    result.tallies["caption", name].add(right, 0.0, clip=cluster_of(clip), truth=truth)
