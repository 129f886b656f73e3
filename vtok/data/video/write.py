"""Writes frames to h264 files."""

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import av
import numpy as np

from vtok.common.errors import UserError
from vtok.common.files import atomic_file, check_writable

if TYPE_CHECKING:
    # Loading torch takes longer than writing a hundred clips.
    from torch import Tensor

LONGEST_SIDE = 16384  # pixels, the limit of h264
RATES = (0.01, 1000.0)
# Without these parameters, the output of x264 varies by chance and with the processor.
DETERMINISTIC = "deterministic=1:cpu-independent=1"


def write_video(path: Path, frames: "Tensor | np.ndarray", *, fps: float, scale: int = 1) -> None:
    """Write an h264 mp4 atomically. The same frames give the same bytes.

    Args:
        path: NAME.mp4 in a folder that exists; an existing file is replaced.
        frames: uint8 (T, 3, H, W).
        fps: frames a second.
        scale: side of a pixel in the file. h264 stores colours for 2 x 2 pixels, so an odd height or width is padded by
            repeating the last row or column.

    Raises:
        UserError: the file cannot be written, or `scale` or `fps` is out of range.
        ValueError: the frames have another type or shape.
    """
    pictures = frames if isinstance(frames, np.ndarray) else frames.detach().cpu().numpy()
    if pictures.dtype != np.uint8 or pictures.ndim != 4 or pictures.shape[1] != 3 or 0 in pictures.shape:
        raise ValueError(f"frames must be uint8 (T, 3, H, W), not {pictures.dtype} {pictures.shape}.")
    height, width = pictures.shape[2:]
    check_scale(scale, max(height, width))
    check_rate(fps)
    check_writable(path, suffix=".mp4")
    rate = Fraction(fps).limit_denominator(1001)
    with atomic_file(path) as partial, as_os_errors(), av.open(f"file:{partial}", "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=rate)
        stream.height, stream.width = even(height * scale), even(width * scale)
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": "20", "preset": "veryfast", "threads": "1", "x264-params": DETERMINISTIC}
        stream.codec_context.time_base = 1 / rate
        for picture in pictures:
            image = picture.transpose(1, 2, 0)
            if scale > 1:
                image = image.repeat(scale, axis=0).repeat(scale, axis=1)
            odd = ((0, stream.height - len(image)), (0, stream.width - image.shape[1]), (0, 0))
            # Padding by nothing takes as long as a third of the encoding of a small frame.
            if any(after for _, after in odd):
                image = np.pad(image, odd, mode="edge")
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")))
        container.mux(stream.encode())


def even(side: int) -> int:
    """The smallest even number that is not below `side`."""
    return side + side % 2


def check_scale(scale: int, side: int) -> None:
    """Raise UserError if h264 does not support frames of `side` x `scale` pixels."""
    most = LONGEST_SIDE // side
    if not 1 <= scale <= most:
        raise UserError(f"scale={scale}: h264 supports {LONGEST_SIDE} pixels a side. Use 1 to {most}.")


def check_rate(fps: float) -> None:
    """Raise UserError if the frame rate is out of range."""
    if not RATES[0] <= fps <= RATES[1]:
        raise UserError(f"fps={fps:g}: this rate is not supported. Use {RATES[0]:g} to {RATES[1]:g} frames a second.")


@contextmanager
def as_os_errors() -> Iterator[None]:
    """Convert FFmpeg's errors to OSError."""
    try:
        yield
    except av.FFmpegError as error:
        raise OSError(error.errno, error.strerror or str(error)) from error
