"""How a clip is played: the order and pace of its frames, and a window that moves over them.

A playback acts on the frames that a plan asks for, not on all frames of the clip. Frames of a plan are spaced unevenly
about the middle of a clip (0, 6, ..., 24 of 30), so that playing all of them backwards would show a plan other frames.
Of the planned frames it shows the same ones: `backwards` reverses the list, `swapped` and `moved` permute it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple


class Window(NamedTuple):
    """A part of a picture with the picture's aspect ratio; lengths are fractions of the picture's sides."""

    top: float
    left: float
    side: float


class Shown(NamedTuple):
    """A frame of a clip, and the part of it that is shown; None: all of it."""

    frame: int
    window: Window | None


@dataclass(frozen=True)
class Playback:
    """A way to play a clip; the default plays it as it was filmed.

    Attributes:
        half: share of the clip that is played in the first half of the time: 0.5 at constant pace, 0 if the beginning
            stands still, 1 if the end does.
        swapped: whether the second half of the planned frames comes first.
        moved: a planned frame that is taken out, and the place where it is put back, both from 0 (first) to 1 (last).
        windows: window at the beginning and at the end, which moves and grows at constant speed; None: full frames.
        backwards: whether all of this is shown in reverse.
    """

    half: float = 0.5
    swapped: bool = False
    moved: tuple[float, float] | None = None
    windows: tuple[Window, Window] | None = None
    backwards: bool = False

    @property
    def zoom(self) -> float:
        """Factor by which frames are decoded larger, so that the smallest window still has the size of the clip."""
        return 1.0 if self.windows is None else 1 / min(window.side for window in self.windows)

    def show(self, indices: Sequence[int], num_frames: int) -> list[Shown]:
        """What is shown instead of the planned frames `indices`, ascending, of a clip of `num_frames` frames."""
        times = [index / max(1, num_frames - 1) for index in indices]
        frames = list(indices)
        if self.half != 0.5:
            frames = [round(self._source_time(time) * (num_frames - 1)) for time in times]
        if self.swapped:
            middle = len(frames) // 2
            frames = frames[middle:] + frames[:middle]
        if self.moved is not None:
            out, back = (round(place * (len(frames) - 1)) for place in self.moved)
            frames.insert(back, frames.pop(out))
        shown = [Shown(frame, self._window(time)) for frame, time in zip(frames, times, strict=True)]
        return shown[::-1] if self.backwards else shown

    def _source_time(self, time: float) -> float:
        if time <= 0.5:
            return 2 * time * self.half
        return self.half + (2 * time - 1) * (1 - self.half)

    def _window(self, time: float) -> Window | None:
        if self.windows is None:
            return None
        return Window(*(first + time * (last - first) for first, last in zip(*self.windows, strict=True)))


AS_FILMED = Playback()
