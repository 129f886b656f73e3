"""Statistics of the optical flow of videos, by OpenCV's DIS (Kroeger et al. 2016)."""

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from vtok.data.clip import Clip
from vtok.data.file_identity import stamp_of
from vtok.data.video.common import BadVideoError
from vtok.data.video.read import open_video

# Pixels between two frames, above which a pixel counts as moving.
LEAST_MOVE = 0.7
# Frames that are held in memory together.
AT_ONCE = 256


@dataclass(frozen=True)
class FlowStatistics:
    """The flow between every `step`-th frame of a video.

    Attributes:
        stamp: state of the file, see `vtok.data.file_identity`.
        seconds: times of the n + 1 frames.
        flow: n times [dx, dy, share]: the mean flow of moving pixels, to the right and down, in pixels of a picture of
            the given width, and their share of the picture. 0 if nothing moves.
    """

    stamp: tuple[int, ...]
    seconds: list[float]
    flow: list[list[float]]


def flow_statistics(path: Path, *, step: int, width: int, frames_fps: float) -> FlowStatistics:
    """The statistics of a video file or a folder of images.

    Args:
        path: the video.
        step: frames of the video between two that are compared.
        width: width in pixels of the pictures that are compared.
        frames_fps: frames a second of a folder of images.

    Raises:
        BadVideoError: the video does not exist, or cannot be read.
    """
    # Untyped, because mypy finds the types of an extra only where it is installed.
    cv2: Any = import_module("cv2")
    # Videos are shared out to processes already.
    cv2.setNumThreads(1)
    stamp = stamp_of(Clip(str(path), path))
    if stamp is None:
        raise BadVideoError(path, "the file does not exist")
    estimate = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    flow: list[list[float]] = []
    with open_video(path, frames_fps=frames_fps) as video:
        chosen = np.arange(0, len(video.timestamps), step)
        height, native = video.read([0]).shape[2:]
        size = (max(1, round(width * height / native)), width)
        before: np.ndarray | None = None
        for first in range(0, len(chosen), AT_ONCE):
            for picture in video.read(chosen[first : first + AT_ONCE].tolist(), size).numpy():
                grey = cv2.cvtColor(np.ascontiguousarray(picture.transpose(1, 2, 0)), cv2.COLOR_RGB2GRAY)
                if before is not None:
                    flow.append(_statistics(estimate.calc(before, grey, None)))
                before = grey
        seconds = [round(float(time), 6) for time in video.timestamps[chosen]]
    return FlowStatistics(stamp, seconds, flow)


def _statistics(flow: np.ndarray) -> list[float]:
    moving = flow[np.hypot(flow[..., 0], flow[..., 1]) > LEAST_MOVE]
    if len(moving) == 0:
        return [0.0, 0.0, 0.0]
    across, down = moving.mean(axis=0)
    return [round(float(across), 3), round(float(down), 3), round(len(moving) / flow[..., 0].size, 4)]
