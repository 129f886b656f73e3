"""Damaged frames, which a decoder can only conceal, make a clip a broken one; intact frames never do."""

from pathlib import Path

import av
import numpy as np
import pytest

from vtok.data import ClipSettings
from vtok.data.check import check_clip
from vtok.data.clip import Clip
from vtok.data.clip_reader import FrameReader
from vtok.data.plan import StridePlanner
from vtok.data.sampler import SampleKey
from vtok.data.video.common import BadVideoError
from vtok.data.video.read import read_video


def damage(path: Path, target: Path, number: int) -> Path:
    """A copy whose packet of this number has zeros in its second half."""
    content = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        packet = [packet for packet in container.demux(video=0) if packet.size][number]
    begin = content.index(bytes(packet)) + packet.size // 2
    content[begin : begin + packet.size // 2] = bytes(packet.size // 2)
    target.write_bytes(content)
    return target


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("clip.mp4", "libx264", {"g": "10", "bf": "2"}),
        ("clip.mkv", "libx264", {"g": "10", "bf": "0"}),
        ("clip.avi", "mpeg4", {"g": "10", "bf": "2"}),
        ("clip.mkv", "mpeg2video", {"g": "10"}),
    ],
)
def test_a_damaged_frame_is_found_by_frames_that_refer_to_it(name, codec, options, make_video, tmp_path: Path) -> None:
    blocks = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    picture = np.kron(blocks, np.ones((4, 4, 1), np.uint8))
    pan = np.stack([np.roll(picture, 3 * number, axis=1) for number in range(30)])
    whole = make_video(tmp_path / name, pan, codec, options=options)
    path = damage(whole, tmp_path / f"damaged_{name}", 13)
    for indices in (list(range(30)), [18]):
        with pytest.raises(BadVideoError, match="damaged"):
            read_video(path, indices=indices)
    # Groups before it are as they were.
    assert read_video(path, indices=[2, 6])[0].equal(read_video(whole, indices=[2, 6])[0])


@pytest.mark.parametrize("name", ["flip_l.mp4", "zero_l.mkv"])
def test_found_files_are_broken_in_training_and_check_alike(name: str, faults_dir: Path) -> None:
    reader = FrameReader(StridePlanner(6), ClipSettings(size=32, num_frames=200))
    clips = {file: Clip(file, faults_dir / "damaged" / file) for file in (name, "l.mp4")}
    with pytest.raises(BadVideoError, match=r"frame \d+ is damaged"):
        reader.read(clips[name], SampleKey(0, 0))
    assert "is damaged" in str(check_clip(clips[name], 24.0, timeout=None).reason)
    assert len(reader.read(clips["l.mp4"], SampleKey(0, 0)).frames) == 34
    assert check_clip(clips["l.mp4"], 24.0, timeout=None).reason is None


@pytest.mark.parametrize(
    "options",
    [
        {"x264-params": "open-gop=1:keyint=12:bframes=3:scenecut=0:b-adapt=0"},
        {"x264-params": "intra-refresh=1:keyint=12:bframes=2"},
    ],
)
@pytest.mark.parametrize("suffix", [".mkv", ".ts"])
def test_frames_that_need_an_earlier_group_are_not_taken_for_damaged(
    suffix: str, options, make_video, tmp_path: Path
) -> None:
    path = make_video(tmp_path / f"clip{suffix}", 48, options=options)
    full = read_video(path, stride=1)[0]
    for index in range(48):
        assert read_video(path, indices=[index])[0].equal(full[[index]]), index
