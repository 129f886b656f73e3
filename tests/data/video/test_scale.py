"""Cropping and scaling against the picture itself, cropped by numpy and scaled by torch in float."""

import av
import numpy as np
import pytest
import torch
from torch.nn import functional as F

from vtok.data.video.common import Size, cover
from vtok.data.video.scale import Scaler

# How far swscale is from the truth, in grey levels: chroma of half the resolution is smoothed and lies elsewhere, and
# without scaling swscale converts some formats with 7 bits.
WHOLE_CHROMA = ("yuv444p", "yuv444p12le", "gbrp", "gbrp10le", "rgb24", "bgr0", "argb", "rgb48le")
OTHERS = (
    *("yuv420p", "yuvj420p", "nv12", "yuv422p", "yuvj422p", "yuvj444p", "yuv440p", "yuva420p"),
    *("yuv420p10le", "yuv422p10le", "p010le", "uyvy422"),
)
FORMATS = (*((pix_fmt, 0.45) for pix_fmt in WHOLE_CHROMA), *((pix_fmt, 1.3) for pix_fmt in OTHERS))
SHAPES = ((90, 160), (160, 90), (91, 163), (73, 73), (104, 150))
# The short sides of SHAPES among them, where a picture is cropped and not scaled.
SIZES: tuple[Size, ...] = (None, 33, 64, 73, 90, 91, 104, 120, (40, 70), (70, 30))


def slopes(height: int, width: int) -> np.ndarray:
    """About 2 levels a pixel, in another direction for each colour, so that a pixel out of place is seen."""
    down, across = np.linspace(0, 1, height)[:, None], np.linspace(0, 1, width)[None]
    return (20 + 200 * np.stack([across + 0 * down, down + 0 * across, (across + down) / 2], axis=-1)).astype(np.uint8)


def scaled(frame: av.VideoFrame, size: Size) -> np.ndarray:
    scaler = Scaler()
    out = np.zeros((3, *scaler.shape(frame, size)), np.uint8)
    scaler.scale(frame, size, out)
    return out


def truth(picture: np.ndarray, size: Size) -> np.ndarray:
    box, shape = cover(*picture.shape[:2], size)
    kept = picture[box.top : box.top + box.height, box.left : box.left + box.width]
    planes = torch.from_numpy(kept.astype(np.float32)).permute(2, 0, 1)[None]
    return F.interpolate(planes, shape, mode="bilinear", antialias=True, align_corners=False)[0].numpy()


def distance(first: np.ndarray, second: np.ndarray) -> float:
    assert first.shape == second.shape
    return float(np.abs(first.astype(np.float32) - second).mean())


@pytest.mark.parametrize(("pix_fmt", "apart"), FORMATS)
@pytest.mark.parametrize("shape", SHAPES)
def test_formats_and_sizes(pix_fmt, apart, shape):
    picture = slopes(*shape)
    frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=pix_fmt, threads=1)
    for size in SIZES:
        assert distance(scaled(frame, size), truth(picture, size)) < apart, size


@pytest.mark.parametrize("pix_fmt", ["gray", "yuv420p", "yuv422p", "yuv410p", "yuv411p", "nv12"])
@pytest.mark.parametrize("shape", SHAPES)
def test_brightness_is_where_it_was(pix_fmt, shape):
    picture = np.ascontiguousarray(slopes(*shape)[..., :1]).repeat(3, axis=2)
    frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=pix_fmt, threads=1)
    for size in (33, 64, 120, (40, 70), (70, 30)):
        assert distance(scaled(frame, size), truth(picture, size)) < 0.7, size


@pytest.mark.parametrize("matrix", ["ITU709", "ITU601", "BT2020"])
@pytest.mark.parametrize("full", [False, True])
def test_matrix_and_range_of_the_colours_are_kept_by_the_crop(matrix, full):
    picture = slopes(90, 160)
    frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(
        format="yuv444p", dst_colorspace=matrix, dst_color_range="JPEG" if full else "MPEG", threads=1
    )
    assert distance(scaled(frame, 64), truth(picture, 64)) < 1.3


@pytest.mark.parametrize("size", [(30, 50), 40, (50, 30)])
@pytest.mark.parametrize("shape", [(90, 160), (91, 163)])
def test_a_scaler_takes_frames_of_any_kind_in_turn(shape, size):
    scaler = Scaler()
    out = np.zeros((3, *((size, size) if isinstance(size, int) else size)), np.uint8)
    for pix_fmt, picture in (("yuv420p", slopes(*shape)), ("gbrp", slopes(*shape)), ("yuv420p", slopes(*shape[::-1]))):
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=pix_fmt, threads=1)
        for _ in range(2):
            out[:] = 0
            scaler.scale(frame, size, out)
            assert distance(out, truth(picture, size)) < 1.3


@pytest.mark.parametrize("size", [None, 20, 41, (30, 20), (17, 90)])
@pytest.mark.parametrize("shape", [(48, 64), (51, 67), (70, 33)])
def test_the_part_kept_is_the_largest_at_the_centre(shape, size):
    box, wanted = cover(*shape, size)
    assert wanted == (shape if size is None else (size, size) if isinstance(size, int) else size)
    ends = box.top + box.height, box.left + box.width
    for start, end, whole in ((box.top, ends[0], shape[0]), (box.left, ends[1], shape[1])):
        assert 0 <= start < end <= whole
        assert abs(start - (whole - end)) <= 2
        assert start % 2 == 0
    assert box.height == shape[0] or box.width == shape[1]
    assert abs(box.height * wanted[1] / wanted[0] - box.width) <= max(0.5, 0.5 * wanted[1] / wanted[0])


def test_examples_of_the_part_kept():
    assert cover(540, 960, 336) == ((0, 210, 540, 540), (336, 336))
    assert cover(854, 480, 336) == ((188, 0, 480, 480), (336, 336))
    assert cover(100, 10, (20, 20)) == ((44, 0, 10, 10), (20, 20))
