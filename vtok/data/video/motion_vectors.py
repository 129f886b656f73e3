"""Motion fields from the motion vectors that a video's encoder stored in the file.

FFmpeg's decoders of H.264, MPEG-1, -2 and -4 and related codecs export the vectors of predicted blocks; its decoders of
VP8, VP9, AV1 and HEVC do not.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from av.sidedata.motionvectors import MotionVectors
from av.video.frame import VideoFrame
from torch import Tensor

from vtok.data.augmentation import View
from vtok.data.video.common import BadVideoError, cover
from vtok.data.video.image_folder import FrameFolder
from vtok.data.video.orientation import Orientation
from vtok.data.video.video_file import VideoFile


def motion_fields(
    video: VideoFile | FrameFolder, indices: Sequence[int], *, grid: int, size: int, view: View | None = None
) -> Tensor:
    """Motion since the previous wanted frame, averaged over grid x grid cells, from the codec's motion vectors.

    A P-frame's vector is assumed to span the time since the previous I- or P-frame at constant speed. A field is the
    sum of the motion between two wanted frames, at fixed cells and not along the motion. Blocks without a vector, and
    I-frames, count as unknown, with motion 0. B-frames are skipped, because FFmpeg does not export which frames their
    vectors refer to. If the encoder used an older reference than the previous I- or P-frame, the motion is too large.

    Args:
        video: an open video.
        indices: K frame numbers, ascending.
        grid: number of cells a side.
        size: side of the square crop of the frames in pixels, see `cover`.
        view: augmentation of the crop; None: none.

    Returns:
        float32 (K, 3, grid, grid): motion to the right and down, in fractions of the width and height of the view, and
        the share of the cell and the time for which it is known, 0 to 1. All 0 for the first frame.

    Raises:
        BadVideoError: the video has no motion vectors, or cannot be decoded.
    """
    if isinstance(video, FrameFolder):
        raise BadVideoError(video.path, "tokeniser=codec_motion needs a codec's motion vectors, but images have none")
    fields = np.zeros((len(indices), 3, grid, grid))
    spans = list(pairwise(indices))
    before: int | None = None
    found = False
    for number, frame in video.reference_frames(indices[0], indices[-1]):
        vectors = frame.side_data.get("MOTION_VECTORS")
        if before is not None and number > before and isinstance(vectors, MotionVectors):
            field: np.ndarray | None = None
            for k, (start, stop) in enumerate(spans, start=1):
                shared = min(stop, number) - max(start, before)
                if shared > 0:
                    field = cells(frame, vectors, grid=grid, size=size, view=view or View()) if field is None else field
                    fields[k, :2] += field[:2] * shared / (number - before)
                    fields[k, 2] += field[2] * shared / (stop - start)
                    found = True
        before = number
    if not found and any(stop > start for start, stop in spans):
        raise BadVideoError(
            video.path,
            f"tokeniser=codec_motion: its codec, {video.codec}, gives no motion vectors in this range; H.264 and "
            "MPEG-4 give them, unless every frame is a key frame",
        )
    return torch.from_numpy(fields).float()


def cells(frame: VideoFrame, vectors: MotionVectors, *, grid: int, size: int, view: View) -> np.ndarray:
    """A frame's motion vectors averaged over cells, weighted by overlap: float64 (3, grid, grid).

    The channels are the motion to the right and down since the reference frame, in fractions of the view, and the share
    of the cell that has vectors.
    """
    blocks = vectors.to_ndarray()
    # A vector points from a block back to the position of its content in the reference frame.
    move = -np.stack([blocks["motion_x"], blocks["motion_y"]]) / np.maximum(blocks["motion_scale"], 1)
    half = np.stack([blocks["w"], blocks["h"]]) / 2
    middle = np.stack([blocks["dst_x"], blocks["dst_y"]]).astype(np.float64)
    low, high = middle - half, middle + half
    tag = Orientation.of(frame)
    if tag.transposed:
        low, high, move = low[::-1].copy(), high[::-1].copy(), move[::-1].copy()
    shape = tag.shape(frame.height, frame.width)
    for axis, is_reversed, side in ((0, tag.mirrored, shape[1]), (1, tag.flipped, shape[0])):
        if is_reversed:
            low[axis], high[axis], move[axis] = side - high[axis], side - low[axis], -move[axis]
    box, _ = cover(*shape, size)
    origin = np.array([[box.left + view.left * box.width], [box.top + view.top * box.height]])
    extent = np.array([[view.width * box.width], [view.height * box.height]])
    low, high, move = (low - origin) / extent, (high - origin) / extent, move / extent
    if view.flipped:
        low[0], high[0], move[0] = 1 - high[0], 1 - low[0], -move[0]
    across, down = (shares(low[axis], high[axis], grid) for axis in (0, 1))
    weighted = np.stack([move[0], move[1], np.ones_like(move[0])])
    field = np.einsum("cn,ny,nx->cyx", weighted, down, across)
    field[2] = field[2].clip(max=1.0)
    return field


def shares(low: np.ndarray, high: np.ndarray, grid: int) -> np.ndarray:
    """The share of each of `grid` equal parts of [0, 1] that lies between low and high, (n, grid)."""
    edges = np.arange(grid + 1) / grid
    overlap = np.minimum(high[:, None], edges[1:]) - np.maximum(low[:, None], edges[:-1])
    return overlap.clip(min=0.0) * grid
