"""Entry points for reading frames: `read_video` for users, `open_video` and `open_clip` for data sets."""

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
    """Read frames of a video file or a folder of images. Give exactly one of `indices`, `stride` and `times`.

    Args:
        path: video file, or folder of JPEG or PNG frames in natural order of their names.
        indices: frame numbers from 0, in presentation order; the list may be in any order and repeat numbers.
        stride: step between frames; every stride-th frame from the first is read.
        times: seconds in the file; the nearest frame to each is read.
        size: None for the native size, an int for a square (short side scaled, centre cropped), or (height, width)
            (scaled to cover, centre cropped).
        frames_fps: frames a second of a folder of images; video files have timestamps.

    Returns:
        Frames, uint8 (K, 3, H, W), and their timestamps in seconds, float64 (K,).

    Raises:
        BadVideoError: the video, or a requested frame, cannot be read.
        UserError: a frame number is out of range, or the choice of frames is invalid.
    """
    if sum(choice is not None for choice in (indices, stride, times)) != 1:
        raise UserError("read_video: the choice of frames is ambiguous. Give exactly one of indices, stride, times.")
    if stride is not None and stride < 1:
        raise UserError(f"stride={stride}: it counts frames. Use 1 or more.")
    if times is not None and not np.isfinite(np.asarray(times, dtype=np.float64)).all():
        raise UserError("times: not all of them are finite numbers. Use finite numbers of seconds.")
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
    """A reader of a video file or a folder of images, closed at the end of the `with` block.

    Args:
        path: video file, or folder of images.
        content: bytes of a video file; then `path` is only its name.
        frames_fps: frames a second of a folder of images.
        timeout: seconds from now after which reading fails; None: no limit.
        part: part of a video file that is needed, see `VideoFile`; None: the entire file.

    Raises:
        BadVideoError: the file does not exist, or cannot be read.
    """
    path = Path(path)
    if "\0" in str(path):
        raise BadVideoError(path, "a file name cannot hold a NUL character")
    # os.path.isdir: Path.is_dir raises if the name is too long.
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
    """A reader of a clip's file or folder, or of its bytes in a larger file, which are read into memory.

    Raises:
        BadVideoError: the clip does not exist, or cannot be read.
    """
    content = None
    if clip.span is not None:
        try:
            content = read_span(clip.span)
        except OSError as error:
            transient = not isinstance(error, FileNotFoundError | PermissionError)
            raise BadVideoError(
                clip.path, f"it cannot be read ({error.strerror or error})", transient=transient
            ) from error
        if clip.span.frames:
            yield FrameFolder(clip.path, fps=frames_fps, timeout=timeout, files=images_in(clip.path, content))
            return
    with open_video(clip.path, content=content, frames_fps=frames_fps, timeout=timeout, part=part) as video:
        yield video


def nearest(timestamps: np.ndarray, times: np.ndarray) -> np.ndarray:
    """For each of `times` the index of the nearest of the ascending `timestamps`; the earlier one of a tie."""
    middles = (timestamps[:-1] + timestamps[1:]) / 2
    return np.searchsorted(middles, times, side="left")
