"""What all readers of frames share: the error, the deadline, the check of frame numbers, the geometry of scaling."""

import math
from collections.abc import Sequence
from pathlib import Path
from time import monotonic
from typing import NamedTuple

from vtok.common.errors import UserError
from vtok.common.foreign_files import printable

Size = int | tuple[int, int] | None


class BadVideoError(UserError):
    """A video that cannot be read: missing, empty, not a video, without a video stream, truncated or corrupt."""

    def __init__(self, path: str | Path, reason: str) -> None:
        self.path, self.reason = printable(str(path)), printable(reason)
        super().__init__(f"{self.path}: {self.reason}.")

    def __reduce__(self) -> tuple[type["BadVideoError"], tuple[str, str]]:
        return type(self), (self.path, self.reason)


class Deadline:
    """When reading a video has taken too long.

    Args:
        path: the video, for the error.
        seconds: from now on; None is never.
    """

    def __init__(self, path: str | Path, seconds: float | None) -> None:
        self.path = path
        self.seconds = seconds
        self._end = math.inf if seconds is None else monotonic() + seconds

    def check(self) -> None:
        """Raise BadVideoError once it has passed; to be called between frames or packets."""
        if monotonic() > self._end:
            raise self.error()

    def error(self) -> BadVideoError:
        """What `check` raises, for what is interrupted by another clock."""
        return BadVideoError(self.path, f"reading it took longer than clip.decode_timeout={self.seconds:g} s")


def check_indices(path: Path, indices: Sequence[int], frames: int, *, truncated: bool) -> None:
    """Raise UserError where a frame number lies outside of a video, BadVideoError where it does because of a cut."""
    if not indices:
        raise UserError(f"{path}: no frame is asked for.")
    wrong = next((index for index in indices if not 0 <= index < frames), None)
    if wrong is None:
        return
    if truncated and wrong >= frames:
        raise BadVideoError(path, f"it is truncated: frame {wrong} is missing, the first {frames} are there")
    raise UserError(f"{path}: frame {wrong} is out of range, the video has {frames} frames (0 to {frames - 1}).")


class Box(NamedTuple):
    """A part of a picture, in pixels."""

    top: int
    left: int
    height: int
    width: int

    @property
    def corners(self) -> tuple[int, int, int, int]:
        """Left, top, right and bottom, as PIL takes a box."""
        return self.left, self.top, self.left + self.width, self.top + self.height


def cover(height: int, width: int, size: Size) -> tuple[Box, tuple[int, int]]:
    """How a picture comes to a wanted size: the part of it to keep, and the (height, width) to scale that to.

    It is the largest part of the proportions of `size`, at the centre to within a pixel (None: all of it, as it is).
    """
    if size is None:
        return Box(0, 0, height, width), (height, width)
    wanted = (size, size) if isinstance(size, int) else size
    if min(wanted) < 1:
        raise UserError(f"size={size}: a picture has 1 or more pixels a side.")
    scale = max(wanted[0] / height, wanted[1] / width)
    kept = max(1, round(wanted[0] / scale)), max(1, round(wanted[1] / scale))
    # From even numbers on, as most videos have one chroma sample for two pixels a side.
    return Box(2 * round((height - kept[0]) / 4), 2 * round((width - kept[1]) / 4), *kept), wanted
