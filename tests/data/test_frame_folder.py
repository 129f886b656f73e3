"""Folders of images against PIL."""

import numpy as np
import pytest
from PIL import Image

from vtok.data.frames import cover
from vtok.data.video import read_video


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
            truth = np.asarray(image.resize((width, height), Image.Resampling.BILINEAR, box=box.corners))
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
