"""What a made video gets right that has nothing to do with its clip: videos of the captions of any clips."""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence

from vtok.common.hashing import stable_hash
from vtok.data import Clip
from vtok.evaluation.judge import Verdict


class Controls:
    """For each clip the caption of any clip, drawn evenly from those of which the same categories are known.

    Evenly, the clip itself included: a caption that were never the clip's own would be right less often than one that
    has nothing to do with it. The draw follows from the clip and from all clips, not from how they are shared out.

    Args:
        clips: all that are evaluated, in one order in every process.
        truths: what there is to see of a clip, by category.
    """

    def __init__(self, clips: Sequence[Clip], truths: Callable[[Clip], Mapping[str, str]]) -> None:
        self._truths = truths
        self._alike: dict[tuple[str, ...], list[str]] = defaultdict(list)
        self._counts: dict[tuple[str, ...], Counter[tuple[str, str]]] = defaultdict(Counter)
        for clip in clips:
            seen = truths(clip)
            kind = tuple(sorted(seen))
            self._alike[kind].append(clip.caption or "")
            self._counts[kind].update(seen.items())

    def caption(self, clip: Clip) -> str:
        """That of the clip's control."""
        captions = self._alike[tuple(sorted(self._truths(clip)))]
        return captions[stable_hash("control", clip.id) % len(captions)]

    def chances(self, clip: Clip, verdicts: Mapping[str, Verdict]) -> dict[str, float]:
        """By category, how often perfect videos of the captions that could be drawn are right about the clip.

        One is right where its own clip shows the same, and by guessing where what that clip shows is not among the
        choices of the verdict.
        """
        kind = tuple(sorted(self._truths(clip)))
        shown, number = self._counts[kind], len(self._alike[kind])
        chances = {}
        for category, verdict in verdicts.items():
            foreign = number - sum(shown[category, value] for value in set(verdict.choices))
            chances[category] = (shown[category, verdict.truth] + foreign * verdict.chance) / number
        return chances
