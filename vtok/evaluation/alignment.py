"""`alignment`: does the model's text agree with the video?

This follows the idea of TV-Align (VTok, section 4), but it is another benchmark. It has three measures on held-out
clips, each by category: multiple choice (the most likely choice, see `Chooser`), yes or no (the same with two choices),
and captions (the model writes one, and it must name the true attribute and no wrong one).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from tqdm import tqdm

from vtok.common.finite import check_metrics
from vtok.common.setting_types import Count
from vtok.data import Clip, ClipSample
from vtok.evaluation.accuracy import Accuracy, accuracies_of, accuracy_metrics, accuracy_table, merge_results
from vtok.evaluation.answers import SCORES, Answer, Score, answer_about, best_choice
from vtok.evaluation.choice import Chooser, mention, names_only, questions_of
from vtok.evaluation.clips import HeldoutBatch
from vtok.model.batch import stack_frames
from vtok.model.video_language_model import DESCRIBE, VideoLanguageModel
from vtok.tokeniser import VideoTokens


@dataclass(frozen=True)
class Example:
    """One clip for the contact sheet.

    Attributes:
        frames: (K, 3, H, W), the sampled frames.
        answers: (question, answer, truth) of each question.
    """

    frames: Tensor
    answers: list[tuple[str, str, str]]


@dataclass
class Evaluation:
    """The result of the benchmark.

    Attributes:
        score: score by which choices were compared.
        answers: answers to all questions, and the captions.
        examples: the first clips, with answers.
        clips: number of evaluated clips.
        bad: (label, reason) of each broken clip.
    """

    score: Score = "token"
    answers: list[Answer] = field(default_factory=list)
    examples: list[Example] = field(default_factory=list)
    clips: int = 0
    bad: list[tuple[str, str]] = field(default_factory=list)

    def metrics(self) -> dict[str, float]:
        """Metrics by name, such as `alignment/colour`; `accuracy_metrics` describes their suffixes."""
        numbers = {"evaluation/clips": float(self.clips), **accuracy_metrics(accuracies_of(self.answers))}
        check_metrics(numbers)
        return numbers

    def table(self) -> str:
        """A table of the accuracies, and the accuracy on all questions with choices by each score."""
        accuracies = accuracy_table(accuracies_of(self.answers))
        if not (scored := Accuracy([one for one in self.answers if one.token])).answers:
            return accuracies
        shares = ", ".join(f"{scored.share_by(score):.1%} by {score}" for score in SCORES)
        return f"{accuracies}\nChoices are scored by evaluation.score={self.score}. All questions: {shares}."

    @classmethod
    def merged(cls, parts: Sequence["Evaluation"], clips: Sequence[Clip], *, examples: int) -> "Evaluation":
        """The result on all clips, merged from those of several processes; answers are in the order of the clips."""
        result = cls(parts[0].score)
        merge_results(result, parts, clips, examples=examples)
        return result


@dataclass(frozen=True)
class Alignment:
    """The benchmark of understanding; an instance is called with a model and clips.

    Args:
        max_clips: largest number of held-out clips; null: all.
        batch_size: number of clips in a batch.
        sequences_at_once: largest number of question-and-choice sequences in a forward pass of the language model.
        score: score by which choices are compared: token (mean log-probability of a token), total (log-probability of
            the answer, which prefers short ones) or prior (total minus total without the video). Metrics are reported
            for all three.
        yes_no: ask the yes-or-no questions too.
        captions: write a caption of each clip and look for its attributes.
        max_new_tokens: length limit of a caption in tokens.
    """

    max_clips: Count | None = None
    batch_size: Count = 32
    sequences_at_once: Count = 512
    score: Score = "token"
    yes_no: bool = True
    captions: bool = True
    max_new_tokens: Count = 32

    @torch.no_grad()
    def __call__(
        self,
        model: VideoLanguageModel,
        batches: Iterable[HeldoutBatch],
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
            captions: captions of all clips by source; wrong choices for clips without questions are drawn from them.
            values: possible values of each attribute by source and category; a caption that names a wrong one is wrong.
            examples: number of clips whose frames and answers are saved.
            progress: show a progress bar.

        Raises:
            UserError: the model's log-probabilities are not finite numbers.
        """
        device = next(model.parameters()).device
        model.eval()
        result, chooser = Evaluation(self.score), Chooser(model, self.sequences_at_once)
        bar = tqdm(batches, desc="evaluating", unit="batch", leave=False, disable=None if progress else True)
        for batch in bar:
            result.bad += batch.bad
            samples = batch.samples
            if not samples:
                continue
            video = model.tokeniser.encode_planned(stack_frames(samples).to(device))
            asked = [
                (row, question)
                for row, sample in enumerate(samples)
                for question in questions_of(sample.clip, (captions or {}).get(sample.clip.source, ()))
                if self.yes_no or question.kind != "yes_no"
            ]
            answers = []
            for (row, question), scores in zip(asked, chooser(video, asked), strict=True):
                answer = best_choice(question.choices, scores[self.score])
                answers.append(
                    answer_about(
                        samples[row].clip,
                        category=question.category,
                        kind=question.kind,
                        question=question.text,
                        choices=question.choices,
                        scores=scores,
                        answer=answer,
                        truth=question.answer,
                        right=answer == question.answer,
                        chance=1 / len(question.choices),
                    )
                )
            result.answers += answers
            if self.captions:
                self._caption(model, video, samples, result, values or {})
            for sample in samples[: max(0, examples - len(result.examples))]:
                choice_answers = [
                    (one.question, one.answer, one.truth)
                    for one in answers
                    if one.clip == sample.clip.id and one.kind == "choice"
                ]
                if sample.frames is not None:
                    result.examples.append(Example(sample.frames, choice_answers))
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
                # Values in the clip's own caption are true as well: a second object may have another colour.
                others = {
                    one for one in values.get(clip.source, {}).get(category, ()) if not mention(clip.caption or "", one)
                }
                result.answers.append(
                    answer_about(
                        clip,
                        category=category,
                        kind="caption",
                        question=DESCRIBE,
                        answer=caption,
                        truth=truth,
                        right=names_only(caption, truth, others=others),
                        chance=0.0,
                    )
                )
