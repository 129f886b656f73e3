"""Folders of images against PIL."""

import numpy as np
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
            (height, width), crop = cover(image.height, image.width, size)
            truth = np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))[crop]
            assert np.abs(frame.permute(1, 2, 0).numpy().astype(int) - truth).mean() < 2


def test_png_frames_come_back_as_they_were_written(tmp_path):
    written = np.random.default_rng(0).integers(0, 256, (3, 20, 24, 3), dtype=np.uint8)
    for number, picture in enumerate(written):
        Image.fromarray(picture).save(tmp_path / f"{number}.png")
    frames, timestamps = read_video(tmp_path, stride=2)
    np.testing.assert_array_equal(frames.permute(0, 2, 3, 1).numpy(), written[::2])
    np.testing.assert_allclose(timestamps, [0, 2 / 24])
