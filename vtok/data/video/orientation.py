"""How a frame is turned and mirrored to stand upright, as its display matrix says."""

from typing import NamedTuple

import numpy as np
from av.sidedata.sidedata import SideData
from av.video.frame import VideoFrame

from vtok.data.video.common import Box


class Orientation(NamedTuple):
    """One of the eight ways to lay a picture: rows and columns exchanged first, then mirrored.

    Attributes:
        transposed: columns become rows.
        mirrored: left and right are exchanged, after that.
        flipped: top and bottom are exchanged, after that.
    """

    transposed: bool = False
    mirrored: bool = False
    flipped: bool = False

    @classmethod
    def of(cls, frame: VideoFrame) -> "Orientation":
        """That of the frame's display matrix, to the nearest quarter turn, as FFmpeg's autorotate takes it."""
        data = frame.side_data.get("DISPLAYMATRIX")
        if not isinstance(data, SideData):
            return UPRIGHT
        # A pixel at (x, y) is shown at (a x + c y, b x + d y) (libavutil/display.h); the rest of the matrix moves it.
        a, b, _, c, d = np.frombuffer(memoryview(data), dtype=np.int32)[:5].tolist()
        if abs(a) + abs(d) >= abs(b) + abs(c):
            return cls(False, a < 0, d < 0)
        return cls(True, c < 0, b < 0)

    def shape(self, height: int, width: int) -> tuple[int, int]:
        """The (height, width) of the upright picture of a frame of this size, and the reverse."""
        return (width, height) if self.transposed else (height, width)

    def apply(self, picture: np.ndarray) -> np.ndarray:
        """A view of the upright picture of a frame, (H, W) or (H, W, C)."""
        upright = picture.swapaxes(0, 1) if self.transposed else picture
        return upright[:: -1 if self.flipped else 1, :: -1 if self.mirrored else 1]

    def box_before(self, box: Box, height: int, width: int) -> Box:
        """Where a box of the upright picture lies in the frame, which is height x width."""
        all_height, all_width = self.shape(height, width)
        top = all_height - box.top - box.height if self.flipped else box.top
        left = all_width - box.left - box.width if self.mirrored else box.left
        if self.transposed:
            return Box(top=left, left=top, height=box.width, width=box.height)
        return Box(top, left, box.height, box.width)


UPRIGHT = Orientation()
