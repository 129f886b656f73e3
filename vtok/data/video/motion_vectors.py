"""The motion that a video's codec found when it was encoded, read back without estimating anything.

FFmpeg's decoders of H.264, MPEG-1, -2 and -4 and their kin export the vectors of predicted blocks; those of VP8, VP9,
AV1 and HEVC do not.
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
    """How far what is seen has moved since the frame before, by grid x grid cells, from the codec's motion vectors.

    A P-frame's vector is taken to span the time since the I- or P-frame before it, and to be the same at each frame in
    between; the fields add up what lies between two of the wanted frames, at a fixed cell and not along the motion.
    Blocks that are not predicted, and I-frames, count as motion 0 that is not known. B-frames are left out: which
    frames their vectors span is not exported. Where an encoder chose an older frame than the last one, the motion is
    too large.

    Args:
        video: an open file.
        indices: K frame numbers, ascending.
        grid: cells a side.
        size: pixels a side of the square that frames are cropped to, see `cover`.
        view: the part of that square that is seen.

    Returns:
        float32 (K, 3, grid, grid): to the right and down, in fractions of the width and height of what is seen, and the
        share of the cell and the time that it is known of, 0 to 1. All 0 of the first frame.

    Raises:
        BadVideoError: the video has no motion vectors, or cannot be decoded.
    """
    if isinstance(video, FrameFolder):
        raise BadVideoError(video.path, "tokeniser=codec_motion reads a video codec's motion vectors, images have none")
    fields = np.zeros((len(indices), 3, grid, grid))
    spans = list(pairwise(indices))
    before: int | None = None
    found = False
    for number, frame in video.anchors(indices[0], indices[-1]):
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
            f"tokeniser=codec_motion: its codec, {video.codec}, gives no motion vectors there; H.264 and MPEG-4 do, "
            "where not every frame is a key frame",
        )
    return torch.from_numpy(fields).float()


def cells(frame: VideoFrame, vectors: MotionVectors, *, grid: int, size: int, view: View) -> np.ndarray:
    """A frame's vectors averaged over cells, blocks by the area that they share with a cell, float64 (3, grid, grid).

    Motion right and down since the frame referred to and the share of the cell that has any, of what is seen.
    """
    blocks = vectors.to_ndarray()
    # A vector points back, from a block to where its content was.
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
    """Which share of each of `grid` equal parts of 0 to 1 lies between low and high, (n, grid)."""
    edges = np.arange(grid + 1) / grid
    overlap = np.minimum(high[:, None], edges[1:]) - np.maximum(low[:, None], edges[:-1])
    return overlap.clip(min=0.0) * grid
