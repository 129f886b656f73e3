"""A part of a long file, checked against the same range of the entire file."""

from pathlib import Path

import av
import numpy as np
import pytest
import torch

from vtok.data import ClipSettings
from vtok.data.augmentation import Augmentation
from vtok.data.clip import Clip
from vtok.data.clip_reader import FrameReader
from vtok.data.plan import StridePlanner
from vtok.data.sampler import SampleKey
from vtok.data.video import packet_range as part
from vtok.data.video import video_file as videofile
from vtok.data.video.common import BadVideoError
from vtok.data.video.packet_range import Part, PartTracker

CODECS = {
    "h264.mp4": ("libx264", {"g": "12", "bf": "3"}),
    "open_groups.mp4": ("libx264", {"x264-params": "open-gop=1:keyint=12:bframes=3:scenecut=0:b-adapt=0"}),
    "open_groups.mkv": ("libx264", {"x264-params": "open-gop=1:keyint=12:bframes=3:scenecut=0:b-adapt=0"}),
    "hevc.mp4": ("libx265", {"x265-params": "keyint=12:log-level=none"}),
    "vp9.webm": ("libvpx-vp9", {"g": "12", "lag-in-frames": "16", "deadline": "realtime", "cpu-used": "8"}),
    "vp8.webm": ("libvpx", {"g": "12", "auto-alt-ref": "1", "lag-in-frames": "16", "deadline": "realtime"}),
    "mpeg4.mov": ("mpeg4", {"g": "8", "bf": "2"}),
    "transport.ts": ("libx264", {"g": "12", "bf": "2"}),
}


def pictures(count: int) -> np.ndarray:
    """Frames with distinct levels of grey, uint8 (count, 32, 32, 3)."""
    greys = (np.arange(count) * 37) % 251
    return np.broadcast_to(greys[:, None, None, None], (count, 32, 32, 3)).astype(np.uint8)


def read(clip: Clip, *, num_frames: int, fps: float | None, augmentation: Augmentation | None = None):
    settings = ClipSettings(size=32, num_frames=num_frames, fps=fps)
    reader = FrameReader(StridePlanner(3), settings, augmentation=augmentation)
    try:
        return reader.read(clip, SampleKey(0, 0))
    except BadVideoError as error:
        return error.reason


def assert_same(clip: Clip, monkeypatch: pytest.MonkeyPatch, **how) -> None:
    monkeypatch.setattr(part, "WORTH", float("inf"))
    whole = read(clip, **how)
    monkeypatch.setattr(part, "WORTH", 0.0)
    some = read(clip, **how)
    if isinstance(whole, str):
        # The last frame of a file is not known to what has not read it to its end.
        assert isinstance(some, str)
        return
    assert torch.equal(some.timestamps, whole.timestamps), (clip, how)
    assert torch.equal(some.frames, whole.frames), (clip, how)


@pytest.mark.parametrize("variable", [False, True], ids=["constant", "variable"])
@pytest.mark.parametrize("name", CODECS)
def test_a_part_equals_the_same_range_of_the_entire_file(name, variable, make_video, tmp_path, monkeypatch):
    codec, options = CODECS[name]
    rng = np.random.default_rng(1)
    times = np.cumsum(rng.integers(10, 150, 90) / 1000).tolist() if variable else None
    path = make_video(tmp_path / name, pictures(90), codec, options=options, times=times)
    length = times[-1] if times else 90 / 24
    for _ in range(25):
        start = float(rng.choice([0.0, rng.uniform(0, length), rng.integers(90) / 24]))
        end = None if rng.random() < 0.4 else start + float(rng.uniform(0.02, length))
        clip = Clip("a", path, start=start, end=end)
        num_frames, fps = int(rng.integers(1, 40)), (None, 5.0, 24.0, 60.0)[rng.integers(4)]
        assert_same(clip, monkeypatch, num_frames=num_frames, fps=fps)
    clip = Clip("a", path, start=1.0, end=2.5)
    assert_same(clip, monkeypatch, num_frames=9, fps=None, augmentation=Augmentation(random_start=True))


def test_parts_of_real_clips_equal_the_same_range_of_the_entire_file(clips_dir, monkeypatch):
    rng = np.random.default_rng(2)
    for path in sorted(file for file in clips_dir.iterdir() if file.suffix in (".mp4", ".mkv", ".webm", ".avi")):
        for _ in range(2):
            start = float(rng.uniform(0, 4))
            clip = Clip("a", path, start=start, end=float(start + rng.uniform(0.1, 3)))
            assert_same(clip, monkeypatch, num_frames=8, fps=(None, 10.0)[rng.integers(2)])


def test_no_more_of_a_long_file_is_read_than_its_part(make_video, tmp_path):
    path = make_video(tmp_path / "long.mp4", pictures(50 * 24), options={"g": "24", "bf": "2"})
    video = videofile.VideoFile(path, part=Part(30.0, 32.0))
    try:
        assert 29 <= video.timestamps[0] <= 30
        assert 32 <= video.timestamps[-1] < 34
        assert video.missing == 0
    finally:
        video.close()
    decoded = []
    with av.open(str(path)) as container:
        decoded = [frame.time for frame in container.decode(video=0)]
    sample = read(Clip("a", path, start=30.0, end=32.0), num_frames=48, fps=None)
    inside = [time for time in decoded if time + 1e-3 >= 30.0 and time < 32.0 - 1e-3]
    np.testing.assert_allclose(sample.timestamps.numpy(), np.array(inside)[::3] - inside[0], atol=1e-5)
    short = videofile.VideoFile(path, part=Part(0.0, 40.0))
    assert len(short.timestamps) == 50 * 24, "the rest of the file is not worth a search"
    short.close()


def test_a_file_too_large_for_memory_is_seeked_twice(make_video, tmp_path, monkeypatch):
    path = make_video(tmp_path / "long.mp4", pictures(40 * 24), options={"g": "24", "bf": "2"})
    clip = Clip("a", path, start=25.3, end=27.0)
    held = read(clip, num_frames=30, fps=None)
    monkeypatch.setattr(videofile, "HELD_BYTES", 0)
    assert torch.equal(read(clip, num_frames=30, fps=None).frames, held.frames)


def test_a_clip_at_the_end_of_a_truncated_file_is_reported(make_video, tmp_path):
    path = make_video(tmp_path / "cut.mkv", pictures(60 * 24), options={"g": "24"})
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 3 // 4])
    assert "truncated" in read(Clip("a", path, start=30.0), num_frames=60 * 24, fps=None)
    # Whole clips before the cut are not looked at any further.
    assert not isinstance(read(Clip("a", path, start=20.0, end=22.0), num_frames=99, fps=None), str)


def test_the_part_tracker_waits_for_reordered_frames():
    # Decoded in the order 0, 20, 1, 2, 3, ...: frame 20 is after the part, and frames of it are still to come.
    enough = PartTracker(Part(0.0, 10.0))
    order = [0, 20, *range(1, 20), *range(21, 60)]
    seen = []
    for shown in order:
        seen.append(shown)
        if enough.add(float(shown)):
            break
    assert set(range(11)) <= set(seen)
    assert len(seen) < 35


@pytest.mark.parametrize("file", ["a.mp4", "b.mkv"])
def test_a_clip_without_an_end_needs_only_the_beginning_of_its_file(file: str, make_video, tmp_path: Path) -> None:
    path = make_video(tmp_path / file, pictures(50 * 24), options={"g": "24", "bf": "2"})
    video = videofile.VideoFile(path, part=Part(frames=30))
    assert 31 <= len(video.timestamps) < 60
    video.close()


def test_frames_of_an_open_group_before_its_key_frame_are_left_out(make_video, tmp_path: Path) -> None:
    options = {"x264-params": "open-gop=1:keyint=24:bframes=3:scenecut=0:b-adapt=0"}
    path = make_video(tmp_path / "a.mkv", pictures(50 * 24), options=options)
    video = videofile.VideoFile(path, part=Part(30.0, 31.0))
    assert 28 <= video.timestamps[0] <= 30, "the whole file was read"
    video.close()
