"""Controls: videos generated from the captions of random clips, to measure what is right by coincidence."""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence

from vtok.common.hashing import stable_hash
from vtok.data import Clip
from vtok.evaluation.judge import Verdict


class Controls:
    """Draws for each clip the caption of a random clip that has the same known categories.

    The draw is uniform and may give the clip's own caption. Without it, a control would be right less often than a
    caption that is independent of the clip. The draw depends on the clips, and not on the number of processes.

    Args:
        clips: all evaluated clips, in the same order in every process.
        truths: function from a clip to its true values by category.
    """

    def __init__(self, clips: Sequence[Clip], truths: Callable[[Clip], Mapping[str, str]]) -> None:
        self._truths = truths
        self._captions: dict[tuple[str, ...], list[str]] = defaultdict(list)
        self._counts: dict[tuple[str, ...], Counter[tuple[str, str]]] = defaultdict(Counter)
        for clip in clips:
            values = truths(clip)
            categories = tuple(sorted(values))
            self._captions[categories].append(clip.caption or "")
            self._counts[categories].update(values.items())

    def caption(self, clip: Clip) -> str:
        """The caption of the clip's control."""
        captions = self._captions[tuple(sorted(self._truths(clip)))]
        return captions[stable_hash("control", clip.id) % len(captions)]

    def chances(self, clip: Clip, verdicts: Mapping[str, Verdict]) -> dict[str, float]:
        """The expected share of right controls by category, if the generated videos were perfect.

        A perfect video shows the value of the clip that its caption was drawn from. If that value is not among the
        choices of the verdict, the evaluator guesses.
        """
        categories = tuple(sorted(self._truths(clip)))
        counts, number = self._counts[categories], len(self._captions[categories])
        chances = {}
        for category, verdict in verdicts.items():
            not_a_choice = number - sum(counts[category, value] for value in set(verdict.choices))
            chances[category] = (counts[category, verdict.truth] + not_a_choice * verdict.chance) / number
        return chances
