"""The codec's motion vectors, checked against known motion."""

import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from vtok.data import Clip, ClipSettings, SampleKey
from vtok.data.augmentation import View
from vtok.data.clip_reader import FrameReader
from vtok.data.plan import CodecMotionPlanner
from vtok.data.video import video_file as videofile
from vtok.data.video.common import BadVideoError
from vtok.data.video.motion_vectors import motion_fields, shares
from vtok.data.video.read import open_video

HEIGHT, WIDTH = 96, 160


def ground(height: int, width: int) -> np.ndarray:
    """Smooth texture that matches itself nowhere else, uint8 (height, width)."""
    noise = torch.rand(1, 1, height // 6 + 2, width // 6 + 2, generator=torch.Generator().manual_seed(0))
    smooth = F.interpolate(noise, scale_factor=6, mode="bicubic")[0, 0, :height, :width]
    return (255 * smooth.clamp(0, 1)).byte().numpy()


def pan(count: int = 25, right: int = 3, down: int = -2) -> np.ndarray:
    """Frames of a texture that moves by a number of pixels a frame, uint8 (count, HEIGHT, WIDTH, 3)."""
    texture = ground(HEIGHT + 2 * count * abs(down), WIDTH + 2 * count * abs(right))
    top, left = count * abs(down), count * abs(right)
    frames = [texture[top - down * t :, left - right * t :][:HEIGHT, :WIDTH] for t in range(count)]
    return np.repeat(np.stack(frames)[..., None], 3, axis=-1)


def fields_of(path: Path, indices: list[int], **settings) -> torch.Tensor:
    with open_video(path) as video:
        return motion_fields(video, indices, **{"grid": 4, "size": HEIGHT, **settings})


@pytest.mark.parametrize(
    ("codec", "options"),
    [("libx264", {"bf": "0"}), ("libx264", {}), ("libx264", {"b-pyramid": "normal", "bf": "3"}), ("mpeg4", {})],
)
def test_a_pan_is_found_in_fractions_of_the_view(codec: str, options: dict[str, str], make_video, tmp_path) -> None:
    path = make_video(tmp_path / "pan.mkv", pan(), codec, options=options)
    fields = fields_of(path, [0, 6, 12, 18])
    assert fields.dtype == torch.float32
    assert fields.shape == (4, 3, 4, 4)
    assert not fields[0].any()
    # The picture is cropped to a square of its height.
    known = fields[1:, 2].clamp(min=1e-6)
    assert fields[1:, 2].mean() > 0.9
    assert fields.max() <= 1
    right, down = (float((fields[1:, axis] / known).median()) for axis in (0, 1))
    assert right == pytest.approx(6 * 3 / HEIGHT, rel=0.03)
    assert down == pytest.approx(6 * -2 / HEIGHT, rel=0.03)


def test_motion_is_found_in_the_right_cells(make_video, tmp_path) -> None:
    frames = np.repeat(np.repeat(ground(HEIGHT, HEIGHT)[None, ..., None] // 4, 20, axis=0), 3, axis=-1).copy()
    square = ground(400, 400)[300:332, 300:332, None]
    for t, frame in enumerate(frames):
        frame[16:48, 40 + t : 72 + t] = square
    path = make_video(tmp_path / "square.mp4", frames)
    right, down, _ = fields_of(path, [2, 8], grid=3)[1]
    # From columns 42 to 74 to columns 48 to 80 of 96: within the two upper cells to the right.
    assert right[0, 1] > 0.01
    assert right[0, 2] > 0.01
    assert right[2].abs().max() < 0.002
    assert down.abs().max() < 0.01


@pytest.mark.parametrize("matrix", [(0, 1, -1, 0), (-1, 0, 0, -1), (0, -1, 1, 0), (-1, 0, 0, 1), (0, 1, 1, 0)])
def test_a_display_matrix_turns_and_mirrors_motion_as_it_does_pictures(matrix, make_video, tmp_path) -> None:
    path = make_video(tmp_path / "pan.mp4", pan(down=1))
    file = bytearray(path.read_bytes())
    # The track header's matrix, see test_read_video.
    place, (a, b, c, d) = file.index(b"tkhd") + 44, matrix
    file[place : place + 20] = struct.pack(">5i", a << 16, b << 16, 0, c << 16, d << 16)
    (tmp_path / "turned.mp4").write_bytes(file)
    right, down, known = fields_of(path, [0, 4])[1]
    expected = torch.stack([a * right + c * down, b * right + d * down, known])
    # Cells go where the matrix shows them: columns become rows where it has nothing on its diagonal.
    expected = expected if a else expected.transpose(1, 2)
    expected = expected.flip([axis for axis, sign in ((2, a + c), (1, b + d)) if sign < 0])
    torch.testing.assert_close(fields_of(tmp_path / "turned.mp4", [0, 4])[1], expected)


def test_a_view_applies_to_motion_as_to_pictures(make_video, tmp_path) -> None:
    path = make_video(tmp_path / "pan.mp4", pan(down=0), options={"bf": "0"})
    plain = fields_of(path, [0, 4])[1]
    assert float(plain[0].median()) == pytest.approx(4 * 3 / HEIGHT, rel=0.05)
    flipped = fields_of(path, [0, 4], view=View(flipped=True))[1]
    torch.testing.assert_close(flipped[0], -plain[0].flip(-1))
    torch.testing.assert_close(flipped[1:], plain[1:].flip(-1))
    half = fields_of(path, [0, 4], grid=2, view=View(top=0.0, left=0.5, height=1.0, width=0.5))[1]
    coarse = fields_of(path, [0, 4], grid=4)[1].unflatten(1, (2, 2)).mean(2)[..., 2:]
    torch.testing.assert_close(half[0], 2 * coarse[0])
    torch.testing.assert_close(half[1:], coarse[1:])


@pytest.mark.parametrize(("codec", "options"), [("libvpx-vp9", {}), ("mjpeg", {}), ("libx264", {"g": "1"})])
def test_a_clip_without_vectors_is_bad(codec: str, options: dict[str, str], make_video, tmp_path) -> None:
    pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    path = make_video(tmp_path / "clip.mkv", 13, codec, options=options, pix_fmt=pix_fmt)
    reader = FrameReader(CodecMotionPlanner(6), ClipSettings(size=48, num_frames=13))
    with pytest.raises(
        BadVideoError, match=r"tokeniser=codec_motion: its codec, .*, gives no motion vectors in this range"
    ):
        reader.read(Clip(id="a", path=path), SampleKey(0, 0))


def test_a_folder_of_frames_is_bad(tmp_path) -> None:
    from PIL import Image

    for number in range(13):
        Image.new("RGB", (64, 64)).save(tmp_path / f"{number}.png")
    reader = FrameReader(CodecMotionPlanner(6), ClipSettings(size=48, num_frames=13))
    with pytest.raises(BadVideoError, match="images have none"):
        reader.read(Clip(id="a", path=tmp_path), SampleKey(0, 0))


def test_a_sample_has_vectors_where_the_plan_asks_for_them_and_of_the_clips_own_frames(make_video, tmp_path) -> None:
    path = make_video(tmp_path / "pan.mp4", pan())
    planner = CodecMotionPlanner(4, vector_grid=4)
    reader = FrameReader(planner, ClipSettings(size=HEIGHT, num_frames=12))
    sample = reader.read(Clip(id="a", path=path, start=5 / 24), SampleKey(0, 0))
    assert sample.vectors is not None
    torch.testing.assert_close(sample.vectors, fields_of(path, [5, 9, 13]))


def test_a_file_too_large_to_hold_and_later_groups_give_the_same(make_video, tmp_path, monkeypatch) -> None:
    path = make_video(tmp_path / "pan.mp4", pan(), options={"g": "5", "bf": "2"})
    whole = fields_of(path, [9, 12, 18])
    monkeypatch.setattr(videofile, "HELD_BYTES", 100)
    assert torch.equal(fields_of(path, [9, 12, 18]), whole)
    # Of 12 to 18 the step to the key frame 15 is not known.
    assert whole[2, 2].mean() == pytest.approx(5 / 6, abs=0.05)


def test_a_real_pan_equals_phase_correlation(clips_dir: Path) -> None:
    indices, side = list(range(0, 49, 6)), 256
    with open_video(clips_dir / "london_pan.mp4") as video:
        frames = video.read(indices, side).float().mean(1)
        fields = motion_fields(video, indices, grid=8, size=side)
    window = torch.outer(torch.hann_window(side), torch.hann_window(side))
    spectra = torch.fft.fft2((frames - frames.mean((1, 2), keepdim=True)) * window)
    cross = spectra[1:] * spectra[:-1].conj()
    peaks = torch.fft.ifft2(cross / cross.abs().clamp(min=1e-6)).real.flatten(1).argmax(1)
    down, right = ((number + side // 2) % side - side // 2 for number in (peaks // side, peaks % side))
    found = side * (fields[1:, :2] / fields[1:, 2:].clamp(min=0.05)).flatten(2).median(2).values
    # In pixels; the correlation's are whole ones.
    assert right.abs().max() >= 8
    assert down.abs().max() >= 8
    torch.testing.assert_close(found, torch.stack([right, down], dim=1).float(), atol=1.0, rtol=0)


def test_shares_of_equal_parts() -> None:
    low, high = np.array([0.0, 0.1, -1.0, 0.9]), np.array([1.0, 0.6, 0.25, 1.5])
    expected = [[1, 1], [0.8, 0.2], [0.5, 0], [0, 0.2]]
    np.testing.assert_allclose(shares(low, high, 2), expected, atol=1e-12)
