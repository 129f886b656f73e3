"""Folders of images against PIL."""

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageOps

from vtok.data.video.common import cover
from vtok.data.video.read import read_video


def test_frame_folder_is_near_pil_and_in_natural_order(clips_dir, tmp_path):
    files = sorted((clips_dir / "flower_frames" / "frames").iterdir())[:11]
    for number, file in enumerate(files):
        (tmp_path / f"frame_{number}{file.suffix.upper()}").write_bytes(file.read_bytes())
    (tmp_path / "notes.txt").write_text("no frame")
    for size in (64, 224, (100, 200)):
        frames, timestamps = read_video(tmp_path, indices=[10, 2], size=size, frames_fps=5)
        assert timestamps.tolist() == [2.0, 0.4]
        for frame, file in zip(frames, (files[10], files[2]), strict=True):
            image = Image.open(file).convert("RGB")
            box, (height, width) = cover(image.height, image.width, size)
            corners = box.left, box.top, box.left + box.width, box.top + box.height
            truth = np.asarray(image.resize((width, height), Image.Resampling.BILINEAR, box=corners))
            assert np.abs(frame.permute(1, 2, 0).numpy().astype(int) - truth).mean() < 2


@pytest.mark.parametrize("shape", [(90, 160), (161, 91), (48, 53)])
@pytest.mark.parametrize("size", [32, 45, (40, 24), 120])
def test_a_folder_and_the_video_of_it_give_the_same_pictures(shape, size, make_video, tmp_path):
    coarse = Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 9, 3), dtype=np.uint8))
    picture = coarse.resize(shape[::-1], Image.Resampling.BICUBIC)
    (tmp_path / "frames").mkdir()
    picture.save(tmp_path / "frames" / "0.png")
    video = make_video(tmp_path / "video.mkv", np.asarray(picture)[None], "ffv1", pix_fmt="bgr0")
    (folder, _), (file, _) = (read_video(path, indices=[0], size=size) for path in (tmp_path / "frames", video))
    assert (folder.float() - file.float()).abs().mean() < 0.6


def test_png_frames_come_back_as_they_were_written(tmp_path):
    written = np.random.default_rng(0).integers(0, 256, (3, 20, 24, 3), dtype=np.uint8)
    for number, picture in enumerate(written):
        Image.fromarray(picture).save(tmp_path / f"{number}.png")
    frames, timestamps = read_video(tmp_path, stride=2)
    np.testing.assert_array_equal(frames.permute(0, 2, 3, 1).numpy(), written[::2])
    np.testing.assert_allclose(timestamps, [0, 2 / 24])


def test_grey_of_sixteen_bits_is_scaled_to_eight(tmp_path, faults_dir):
    ramp = np.linspace(0, 65535, 20 * 24).round().astype(np.uint16).reshape(20, 24)
    Image.fromarray(ramp).save(tmp_path / "0.png")
    for folder in (tmp_path, faults_dir / "png16" / "s" / "frames"):
        with Image.open(next(folder.iterdir())) as image:
            assert image.mode == "I;16"
            levels = np.rint(np.asarray(image) / 257)
        frame = read_video(folder, indices=[0])[0][0].numpy()
        np.testing.assert_array_equal(frame, np.broadcast_to(levels, (3, *levels.shape)))


@pytest.mark.parametrize(("orientation", "suffix"), [*((number, ".jpg") for number in range(1, 9)), (6, ".png")])
def test_exif_orientation_is_applied_as_pillow_does(orientation, suffix, tmp_path):
    coarse = Image.fromarray(np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    file = tmp_path / f"0{suffix}"
    # Large enough for a JPEG to be decoded at a quarter of its size.
    coarse.resize((720, 480), Image.Resampling.BICUBIC).save(file, exif=exif, quality=95)
    with Image.open(file) as image:
        upright = ImageOps.exif_transpose(image).convert("RGB")
    native = read_video(tmp_path, indices=[0])[0][0].permute(1, 2, 0).numpy()
    np.testing.assert_array_equal(native, np.asarray(upright))
    for size in (32, (30, 50)):
        box, (height, width) = cover(upright.height, upright.width, size)
        corners = box.left, box.top, box.left + box.width, box.top + box.height
        truth = np.asarray(upright.resize((width, height), Image.Resampling.BILINEAR, box=corners))
        frame = read_video(tmp_path, indices=[0], size=size)[0][0].permute(1, 2, 0).numpy()
        assert np.abs(frame.astype(int) - truth).mean() < 2


def test_found_photographs_stand_upright(faults_dir):
    folder = faults_dir / "exif" / "s" / "frames"
    for number, file in enumerate(sorted(folder.iterdir())):
        with Image.open(file) as image:
            truth = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
        np.testing.assert_array_equal(read_video(folder, indices=[number])[0][0].permute(1, 2, 0).numpy(), truth)
