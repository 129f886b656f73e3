"""The result of the evaluation of generated videos."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from vtok.common.finite import check_metrics
from vtok.common.tables import table
from vtok.data import Clip
from vtok.evaluation.accuracy import accuracies_of, accuracy_metrics, accuracy_table, merge_results
from vtok.evaluation.answers import Answer, answer_about
from vtok.evaluation.judge import Verdict


@dataclass
class Mean:
    """A running mean."""

    total: float = 0.0
    count: int = 0

    def add(self, values: Tensor) -> None:
        self.total += float(values.double().sum())
        self.count += values.numel()

    def merge(self, other: "Mean") -> None:
        self.total += other.total
        self.count += other.count

    @property
    def value(self) -> float:
        return self.total / self.count


@dataclass(frozen=True)
class GeneratedClip:
    """One held-out clip with its generated videos, for a contact sheet.

    Attributes:
        caption: caption of the clip.
        truth: uint8 (F, 3, H, W), the clip's own frames, the target of the decoder.
        reconstructed: uint8 (F, 3, H, W).
        generated: uint8 (F, 3, H, W); None if the model generates no tokens from text.
        verdicts: verdicts on the generated video, or on the reconstructed one if there is no generated one.
    """

    caption: str
    truth: Tensor
    reconstructed: Tensor
    generated: Tensor | None
    verdicts: Mapping[str, Verdict]


@dataclass
class GenerationResult:
    """The result of the evaluation.

    Attributes:
        answers: verdicts on all videos.
        errors: squared errors of standardised tokens by name; always predicting the mean has an error of 1.
        examples: the first clips, with videos.
        clips: number of evaluated clips.
        bad: (label, reason) of each broken clip.
    """

    answers: list[Answer] = field(default_factory=list)
    errors: dict[str, Mean] = field(default_factory=lambda: defaultdict(Mean))
    examples: list[GeneratedClip] = field(default_factory=list)
    clips: int = 0
    bad: list[tuple[str, str]] = field(default_factory=list)

    def add(
        self,
        kind: str,
        clips: Sequence[Clip],
        verdicts: Sequence[Mapping[str, Verdict]],
        *,
        captions: Sequence[str],
        chances: Sequence[Mapping[str, float]] | None = None,
    ) -> None:
        """Add verdicts.

        Args:
            kind: kind of video: "reconstruct", "generate" or "control". Videos that are generated from the captions of
                `unseen` clips are of a kind of their own.
            clips: the clips.
            verdicts: verdicts on each clip's video by category.
            captions: caption that each video was generated from; empty if it was generated from none.
            chances: expected share of right verdicts for each clip, by category; None: that of random guessing.
        """
        for row, (clip, caption, verdict) in enumerate(zip(clips, captions, verdicts, strict=True)):
            self.answers += [
                answer_about(
                    clip,
                    category=category,
                    kind="unseen" if kind == "generate" and clip.unseen else kind,
                    question=caption,
                    choices=one.choices,
                    answer=one.seen or "",
                    truth=one.truth,
                    right=one.right,
                    chance=one.chance if chances is None else chances[row][category],
                )
                for category, one in verdict.items()
            ]

    @classmethod
    def merged(cls, parts: Sequence["GenerationResult"], clips: Sequence[Clip], *, examples: int) -> "GenerationResult":
        """The result on all clips, merged from those of several processes; answers are in the order of the clips."""
        result = cls()
        merge_results(result, parts, clips, examples=examples)
        for part in parts:
            for name, mean in part.errors.items():
                result.errors[name].merge(mean)
        return result

    def metrics(self) -> dict[str, float]:
        """Metrics by name, such as `generate/colour` and `visual/rollout`.

        `vtok.evaluation.accuracy.accuracy_metrics` describes the suffixes of accuracies.
        """
        errors = {name: error.value for name, error in self.errors.items()}
        numbers = {"generation/clips": float(self.clips), **accuracy_metrics(accuracies_of(self.answers)), **errors}
        check_metrics(numbers)
        return numbers

    def table(self) -> str:
        """A table of the accuracies and errors."""
        accuracies = accuracy_table(accuracies_of(self.answers))
        if not self.errors:
            return accuracies
        errors = table([("", "error"), *((name, f"{error.value:.3f}") for name, error in self.errors.items())])
        return f"{accuracies}\n{errors}\nerror: squared error of standardised tokens, 1 for always predicting the mean."
