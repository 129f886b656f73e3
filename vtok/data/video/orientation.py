"""Rotation and mirroring of a frame by its display matrix."""

from typing import NamedTuple

import numpy as np
from av.sidedata.sidedata import SideData
from av.video.frame import VideoFrame

from vtok.data.video.common import Box


class Orientation(NamedTuple):
    """One of the eight orientations of a picture.

    Attributes:
        transposed: whether rows and columns are exchanged, first.
        mirrored: whether left and right are exchanged, after the transposition.
        flipped: whether top and bottom are exchanged, after the transposition.
    """

    transposed: bool = False
    mirrored: bool = False
    flipped: bool = False

    @classmethod
    def of(cls, frame: VideoFrame) -> "Orientation":
        """The orientation in the frame's display matrix, to the nearest quarter turn, as in FFmpeg's autorotate."""
        data = frame.side_data.get("DISPLAYMATRIX")
        if not isinstance(data, SideData):
            return UPRIGHT
        # A pixel at (x, y) is shown at (a x + c y, b x + d y) (libavutil/display.h); the other elements translate it.
        a, b, _, c, d = np.frombuffer(memoryview(data), dtype=np.int32)[:5].tolist()
        if abs(a) + abs(d) >= abs(b) + abs(c):
            return cls(False, a < 0, d < 0)
        return cls(True, c < 0, b < 0)

    def shape(self, height: int, width: int) -> tuple[int, int]:
        """The (height, width) of the upright picture of a frame of this size; it is its own inverse."""
        return (width, height) if self.transposed else (height, width)

    def apply(self, picture: np.ndarray) -> np.ndarray:
        """The upright picture of a frame, (H, W) or (H, W, C), as a view."""
        upright = picture.swapaxes(0, 1) if self.transposed else picture
        return upright[:: -1 if self.flipped else 1, :: -1 if self.mirrored else 1]

    def box_before(self, box: Box, height: int, width: int) -> Box:
        """The box in a frame of height x width pixels that corresponds to a box of the upright picture."""
        all_height, all_width = self.shape(height, width)
        top = all_height - box.top - box.height if self.flipped else box.top
        left = all_width - box.left - box.width if self.mirrored else box.left
        if self.transposed:
            return Box(top=left, left=top, height=box.width, width=box.height)
        return Box(top, left, box.height, box.width)


UPRIGHT = Orientation()
