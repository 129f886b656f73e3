"""The versions in which a clip is shown, by category, and their answers.

Within a category, versions are twins of each other if they show the same planned frames (with the same windows) in
another order. Every answer is that of equally many twins. A reader that is given frames without their order reads the
same from all twins, and so is right for exactly one in n, whatever it knows about videos and whatever frames the
tokeniser plans.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, NamedTuple

from vtok.data.playback import AS_FILMED, Playback, Window

Category = Literal[
    "arrow", "order", "speed", "freeze", "odd", "pan", "tilt", "zoom", "left_right", "up_down"
]  # fmt: skip
# Of the categories that need no flow statistics, in the order in which clips are shown in them.
PLAIN: tuple[Category, ...] = ("arrow", "order", "speed", "freeze", "odd", "pan", "tilt", "zoom")
FLOW: tuple[Category, ...] = ("left_right", "up_down")
CATEGORIES = (*PLAIN, *FLOW)

ANSWERS: dict[Category, tuple[str, ...]] = {
    "arrow": ("forwards", "backwards"),
    "order": ("as filmed", "swapped"),
    "speed": ("the first half", "the second half"),
    "freeze": ("the beginning", "the end"),
    "odd": ("early", "in the middle", "late"),
    "pan": ("left", "right"),
    "tilt": ("up", "down"),
    "zoom": ("in", "out"),
    "left_right": ("left", "right"),
    "up_down": ("up", "down"),
}
# Categories whose answer a horizontal flip makes wrong.
SIDED: tuple[Category, ...] = ("pan", "left_right")

BACKWARDS = Playback(backwards=True)
# Share of the clip in the first half of the time, by answer: one half runs twice as fast as the other.
PACES = (2 / 3, 1 / 3)
# The beginning stands still, or the end does; the other half of the time shows the entire clip.
STILL = (0.0, 1.0)
# Places of the frame that is out of place, from 0 to 1: early, in the middle, late.
PLACES = (0.25, 0.5, 0.75)
# The middle for the first frame: of four frames, 0.5 and 0.75 would be the same place.
BEFORE_MIDDLE = 0.499


class Version(NamedTuple):
    """A version of a clip: the true answer and how the clip is played."""

    answer: str
    playback: Playback


def versions_of(category: Category, *, window: float, variant: int = 0) -> tuple[Version, ...]:
    """The versions of a clip in a category.

    - arrow: forwards and backwards. `BACKWARDS` shows the planned frames in reverse, thus the same frames.
    - order: the planned frames, and the same with their halves swapped.
    - odd: one planned frame is put elsewhere, three permutations of the planned frames. Early it is the last frame,
      late the first one, in the middle either, by `variant`.
    - left_right, up_down: the clip forwards and backwards, in which what moved left moves right. `variant` is the
      number of the answer that the clip has forwards.
    - speed, freeze, pan, tilt, zoom: the versions with the two answers show different frames (denser where the clip is
      slow) or pairs of frame and window. So each is shown in reverse as well, which has the same frames and the other
      answer. Each answer occurs once forwards and once backwards, and the direction of time does not give it away.

    Args:
        category: the category.
        window: side of the window of pan and tilt, and of the smallest one of zoom, as a fraction of the frame's side.
        variant: which of several possible sets of versions, the same for all versions of a clip.
    """
    answers = ANSWERS[category]
    if category in ("arrow", *FLOW):
        filmed = variant if category in FLOW else 0
        return Version(answers[filmed], AS_FILMED), Version(answers[1 - filmed], BACKWARDS)
    if category == "order":
        return Version(answers[0], AS_FILMED), Version(answers[1], Playback(swapped=True))
    if category == "odd":
        early, middle, late = PLACES
        moves = ((1.0, early), (1.0, middle) if variant % 2 else (0.0, BEFORE_MIDDLE), (0.0, late))
        return tuple(Version(answer, Playback(moved=move)) for answer, move in zip(answers, moves, strict=True))
    if category in ("speed", "freeze"):
        halves = PACES if category == "speed" else STILL
        return _with_reverse(answers, Playback(half=halves[0]), Playback(half=halves[1]))
    middle, end = (1 - window) / 2, 1 - window
    ends = {
        "pan": (Window(middle, end, window), Window(middle, 0.0, window)),
        "tilt": (Window(end, middle, window), Window(0.0, middle, window)),
        "zoom": (Window(0.0, 0.0, 1.0), Window(middle, middle, window)),
    }[category]
    return _with_reverse(answers, Playback(windows=ends), Playback(windows=ends[::-1]))


def look_alike(category: Category, indices: Sequence[int], num_frames: int, *, window: float) -> bool:
    """Whether two versions with different answers can show the same.

    Args:
        category: category of the versions.
        indices: planned frames, ascending.
        num_frames: number of frames of the clip.
        window: see `versions_of`.
    """
    for variant in (0, 1):
        versions = versions_of(category, window=window, variant=variant)
        answers = {(tuple(one.playback.show(indices, num_frames)), one.answer) for one in versions}
        if len({shown for shown, _ in answers}) < len(answers):
            return True
    return False


def _with_reverse(answers: tuple[str, ...], first: Playback, second: Playback) -> tuple[Version, ...]:
    return (
        Version(answers[0], first),
        Version(answers[1], replace(first, backwards=True)),
        Version(answers[1], second),
        Version(answers[0], replace(second, backwards=True)),
    )
