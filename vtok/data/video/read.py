"""Reading frames: `read_video` for people, `open_video` for the data sets."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vtok.common.errors import UserError
from vtok.data.clip import Clip
from vtok.data.storage import read_span
from vtok.data.video.common import BadVideoError, Size
from vtok.data.video.image_folder import FrameFolder, images_in
from vtok.data.video.packet_range import Part
from vtok.data.video.video_file import VideoFile

__all__ = ["BadVideoError", "FrameFolder", "Size", "VideoFile", "nearest", "open_clip", "open_video", "read_video"]


def read_video(
    path: str | Path,
    *,
    indices: Sequence[int] | None = None,
    stride: int | None = None,
    times: Sequence[float] | None = None,
    size: Size = None,
    frames_fps: float = 24.0,
) -> tuple[Tensor, Tensor]:
    """Frames of a video file or of a folder of images, chosen by exactly one of `indices`, `stride` and `times`.

    Args:
        path: a video file, or a folder of JPEG or PNG frames in natural order of their names.
        indices: frame numbers in presentation order, from 0; in any order, repeats allowed.
        stride: every stride-th frame from the first on.
        times: seconds in the file; each gives the frame nearest to it.
        size: None for the native size, an int for a square (short side scaled, centre cropped), or (height, width)
            (scaled to cover, centre cropped).
        frames_fps: frames a second of a folder of images; files bring their own timestamps.

    Returns:
        Frames, uint8 (K, 3, H, W), and their timestamps in seconds, float64 (K,).

    Raises:
        BadVideoError: the video, or a frame that is asked for, cannot be read.
        UserError: a frame number outside of the video, or a choice that makes no sense.
    """
    if sum(choice is not None for choice in (indices, stride, times)) != 1:
        raise UserError("read_video takes exactly one of indices, stride and times.")
    if stride is not None and stride < 1:
        raise UserError(f"read_video: stride={stride}, but a stride is 1 or more frames.")
    if times is not None and not np.isfinite(np.asarray(times, dtype=np.float64)).all():
        raise UserError("read_video: times are finite numbers of seconds.")
    with open_video(path, frames_fps=frames_fps) as video:
        if indices is not None:
            chosen = [int(index) for index in indices]
        elif stride is not None:
            chosen = list(range(0, len(video.timestamps), stride))
        else:
            chosen = nearest(video.timestamps, np.asarray(times, dtype=np.float64)).tolist()
        return video.read(chosen, size), torch.from_numpy(video.timestamps[chosen])


@contextmanager
def open_video(
    path: str | Path,
    *,
    content: bytes | None = None,
    frames_fps: float = 24.0,
    timeout: float | None = None,
    part: Part | None = None,
) -> Iterator[VideoFile | FrameFolder]:
    """The reader that fits `path`, closed at the end of the `with` block.

    Args:
        path: a video file, or a folder of images.
        content: the bytes of a video file, which `path` then only names.
        frames_fps: frames a second of a folder of images.
        timeout: seconds from now on after which reading is given up; None is never.
        part: what of a video file is wanted, see `VideoFile`.

    Raises:
        BadVideoError: there is no such file, or it cannot be read.
    """
    path = Path(path)
    if "\0" in str(path):
        raise BadVideoError(path, "no file has a name with a NUL character")
    # Unlike Path.is_dir, it takes a name that is too long for one of no folder.
    if content is None and os.path.isdir(path):
        yield FrameFolder(path, fps=frames_fps, timeout=timeout)
        return
    video = VideoFile(path, content=content, timeout=timeout, part=part)
    try:
        yield video
    finally:
        video.close()


@contextmanager
def open_clip(
    clip: Clip, *, frames_fps: float = 24.0, timeout: float | None = None, part: Part | None = None
) -> Iterator[VideoFile | FrameFolder]:
    """The reader of a clip's file or folder, or of its bytes within a larger file, which are read into memory.

    Raises:
        BadVideoError: it is not there, or it cannot be read.
    """
    content = None
    if clip.span is not None:
        try:
            content = read_span(clip.span)
        except OSError as error:
            raise BadVideoError(clip.path, f"it cannot be read ({error.strerror or error})") from error
        if clip.span.frames:
            yield FrameFolder(clip.path, fps=frames_fps, timeout=timeout, files=images_in(clip.path, content))
            return
    with open_video(clip.path, content=content, frames_fps=frames_fps, timeout=timeout, part=part) as video:
        yield video


def nearest(timestamps: np.ndarray, times: np.ndarray) -> np.ndarray:
    """For each of `times` the number of the nearest of the ascending `timestamps`, the earlier of two equally near."""
    middles = (timestamps[:-1] + timestamps[1:]) / 2
    return np.searchsorted(middles, times, side="left")
