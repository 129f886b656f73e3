"""Frames to h264 files."""

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from torch import Tensor

from vtok.common.errors import UserError
from vtok.common.files import check_writable, whole

LONGEST_SIDE = 16384  # of h264
RATES = (0.01, 1000.0)
# Without these parameters, x264 codes one and the same clip in one of several ways, by chance and by processor.
SAME_EACH_TIME = "deterministic=1:cpu-independent=1"


def write_video(path: Path, frames: Tensor | np.ndarray, *, fps: float, scale: int = 1) -> None:
    """Write an h264 mp4, the same bytes for the same frames; the file is there whole or not at all.

    Args:
        path: NAME.mp4 in a folder that exists; a file of this name is replaced once the new one is whole.
        frames: uint8 (T, 3, H, W).
        fps: frames a second.
        scale: each pixel becomes scale x scale pixels. What is odd then gets its last row or column twice, since h264
            keeps colours by 2 x 2 pixels.

    Raises:
        UserError: the file cannot be written, or the scale or the rate is none.
        ValueError: the frames are of another type or shape.
    """
    pictures = frames.detach().cpu().numpy() if isinstance(frames, Tensor) else frames
    if pictures.dtype != np.uint8 or pictures.ndim != 4 or pictures.shape[1] != 3 or 0 in pictures.shape:
        raise ValueError(f"frames are uint8 (T, 3, H, W), not {pictures.dtype} {pictures.shape}.")
    height, width = pictures.shape[2:]
    check_scale(scale, max(height, width))
    check_rate(fps)
    check_writable(path, suffix=".mp4")
    rate = Fraction(fps).limit_denominator(1001)
    with whole(path) as partial, as_os_errors(), av.open(f"file:{partial}", "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=rate)
        stream.height, stream.width = even(height * scale), even(width * scale)
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": "20", "preset": "veryfast", "threads": "1", "x264-params": SAME_EACH_TIME}
        stream.codec_context.time_base = 1 / rate
        for picture in pictures:
            large = picture.transpose(1, 2, 0).repeat(scale, axis=0).repeat(scale, axis=1)
            odd = ((0, stream.height - len(large)), (0, stream.width - large.shape[1]), (0, 0))
            image = np.ascontiguousarray(np.pad(large, odd, mode="edge"))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())


def even(side: int) -> int:
    """The next even number."""
    return side + side % 2


def check_scale(scale: int, side: int) -> None:
    """Raise UserError where frames of `side` pixels cannot be enlarged by `scale`."""
    most = LONGEST_SIDE // side
    if not 1 <= scale <= most:
        raise UserError(f"scale={scale}: allowed are 1 to {most}, as h264 takes {LONGEST_SIDE} pixels a side.")


def check_rate(fps: float) -> None:
    """Raise UserError where `fps` is no rate to show frames at."""
    if not RATES[0] <= fps <= RATES[1]:
        raise UserError(f"fps={fps:g}: allowed are {RATES[0]:g} to {RATES[1]:g} frames a second.")


@contextmanager
def as_os_errors() -> Iterator[None]:
    """FFmpeg's own errors as those that Python raises of files."""
    try:
        yield
    except av.FFmpegError as error:
        raise OSError(error.errno, error.strerror or str(error)) from error
