"""Shared by all readers of frames: the error, the deadline, the check of frame numbers, the geometry of cropping."""

import math
from collections.abc import Sequence
from pathlib import Path
from time import monotonic
from typing import NamedTuple

from vtok.common.errors import UserError
from vtok.common.foreign_files import printable

Size = int | tuple[int, int] | None


class BadVideoError(UserError):
    """A video that cannot be read: missing, empty, not a video, without a video stream, truncated or corrupt.

    Args:
        path: the video.
        reason: why it cannot be read.
        transient: whether it may be readable later, after a timeout or a failure of the network.
    """

    def __init__(self, path: str | Path, reason: str, transient: bool = False) -> None:
        self.path, self.reason, self.transient = printable(str(path)), printable(reason), transient
        super().__init__(f"{self.path}: {self.reason}.")

    def __reduce__(self) -> tuple[type["BadVideoError"], tuple[str, str, bool]]:
        return type(self), (self.path, self.reason, self.transient)


class Deadline:
    """The time limit for reading a video.

    Args:
        path: the video, for the message.
        seconds: seconds from now; None: no limit.
    """

    def __init__(self, path: str | Path, seconds: float | None) -> None:
        self.path = path
        self.seconds = seconds
        self._end = math.inf if seconds is None else monotonic() + seconds

    def check(self) -> None:
        """Raise BadVideoError after the deadline. Call it between frames or packets."""
        if monotonic() > self._end:
            raise self.error()

    def error(self) -> BadVideoError:
        """The error of `check`, for reads that FFmpeg interrupts itself."""
        reason = f"reading it took longer than clip.decode_timeout={self.seconds:g} s"
        return BadVideoError(self.path, reason, transient=True)


def check_indices(path: Path, indices: Sequence[int], frames: int, *, truncated: bool) -> None:
    """Raise UserError if a frame number is outside a video, BadVideoError if the video is truncated before it."""
    if not indices:
        raise UserError(f"{path}: the list of frame numbers is empty. Give one or more.")
    wrong = next((index for index in indices if not 0 <= index < frames), None)
    if wrong is None:
        return
    if truncated and wrong >= frames:
        raise BadVideoError(path, f"it is truncated: frame {wrong} is missing, only the first {frames} are there")
    raise UserError(f"{path}: frame {wrong} is out of range, the video has {frames} frames. Use 0 to {frames - 1}.")


class Box(NamedTuple):
    """A rectangle of a picture, in pixels."""

    top: int
    left: int
    height: int
    width: int


def cover(height: int, width: int, size: Size) -> tuple[Box, tuple[int, int]]:
    """The crop of a picture for a wanted size, and the (height, width) to scale the crop to.

    The crop is the largest one with the aspect ratio of `size`, at the centre to within a pixel. None keeps the picture
    as it is.
    """
    if size is None:
        return Box(0, 0, height, width), (height, width)
    wanted = (size, size) if isinstance(size, int) else size
    if min(wanted) < 1:
        raise UserError(f"size={size}: a picture needs 1 or more pixels a side. Use 1 or more.")
    scale = max(wanted[0] / height, wanted[1] / width)
    kept = max(1, round(wanted[0] / scale)), max(1, round(wanted[1] / scale))
    # At even positions: most videos have one chroma sample for two pixels a side.
    return Box(2 * round((height - kept[0]) / 4), 2 * round((width - kept[1]) / 4), *kept), wanted
