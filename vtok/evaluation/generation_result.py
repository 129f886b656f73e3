"""The result of the evaluation of generated videos."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from vtok.common.finite import check_metrics
from vtok.common.tables import table
from vtok.data import Clip
from vtok.evaluation.accuracy import (
    Accuracy,
    accuracy_metrics,
    accuracy_table,
    category_names,
    cluster_of,
    merge_results,
)
from vtok.evaluation.judge import Verdict

KINDS = ("reconstruct", "generate", "control")


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
        accuracies: shares of right verdicts by (kind of video, category).
        errors: squared errors of standardised tokens by name; always predicting the mean has an error of 1.
        examples: the first clips, with videos.
        clips: number of evaluated clips.
        bad: (path, reason) of each broken clip.
    """

    accuracies: dict[tuple[str, str], Accuracy] = field(default_factory=lambda: defaultdict(Accuracy))
    errors: dict[str, Mean] = field(default_factory=lambda: defaultdict(Mean))
    examples: list[GeneratedClip] = field(default_factory=list)
    clips: int = 0
    bad: list[tuple[str, str]] = field(default_factory=list)

    def add(
        self,
        kind: str,
        clips: Sequence[Clip],
        verdicts: Sequence[Mapping[str, Verdict]],
        chances: Sequence[Mapping[str, float]] | None = None,
    ) -> None:
        """Count verdicts.

        Args:
            kind: kind of video, one of KINDS.
            clips: the clips.
            verdicts: verdicts on each clip's video by category.
            chances: expected share of right verdicts for each clip, by category; None: that of random guessing.
        """
        for row, (clip, verdict) in enumerate(zip(clips, verdicts, strict=True)):
            for category, one in verdict.items():
                chance = one.chance if chances is None else chances[row][category]
                for name in category_names(category, clip):
                    self.accuracies[kind, name].add(
                        one.right, chance, clip=cluster_of(clip), truth=one.truth, choices=one.choices
                    )

    @classmethod
    def merged(cls, parts: Sequence["GenerationResult"], *, examples: int) -> "GenerationResult":
        """The result on all clips, merged from those of several processes."""
        result = cls()
        merge_results(result, parts, examples=examples)
        for part in parts:
            for name, mean in part.errors.items():
                result.errors[name].merge(mean)
        return result

    def metrics(self) -> dict[str, float]:
        """Metrics by name, such as `generate/colour` and `visual/rollout`.

        `vtok.evaluation.accuracy.accuracy_metrics` describes the suffixes of accuracies.
        """
        errors = {name: error.value for name, error in self.errors.items()}
        numbers = {"generation/clips": float(self.clips), **accuracy_metrics(self._named()), **errors}
        check_metrics(numbers)
        return numbers

    def table(self) -> str:
        """A table of the accuracies and errors."""
        accuracies = accuracy_table(self._named())
        if not self.errors:
            return accuracies
        errors = table([("", "error"), *((name, f"{error.value:.3f}") for name, error in self.errors.items())])
        return f"{accuracies}\n{errors}\nerror: squared error of standardised tokens, 1 for always predicting the mean."

    def _named(self) -> dict[str, Accuracy]:
        order = sorted(self.accuracies, key=lambda name: (KINDS.index(name[0]), "/" in name[1], name[1]))
        return {f"{kind}/{category}": self.accuracies[kind, category] for kind, category in order}
