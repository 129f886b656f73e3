"""Reading that takes too long fails, and the clip counts as broken."""

from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest
from PIL import Image

from vtok.data import ClipSettings
from vtok.data.clip import Clip
from vtok.data.clip_reader import FrameReader
from vtok.data.dataset import ClipDataset
from vtok.data.plan import StridePlanner
from vtok.data.sampler import SampleKey
from vtok.data.sources.folder import FolderData
from vtok.data.video import common as frames
from vtok.data.video import video_file as videofile
from vtok.data.video.common import BadVideoError
from vtok.data.video.read import open_video, read_video

SAID = "longer than clip.decode_timeout=12 s"


@pytest.fixture
def slow(monkeypatch) -> Callable[[], None]:
    """After its call, every look at the clock is a second later than the last."""

    def begin() -> None:
        ticks = count(1_000_000)
        monkeypatch.setattr(frames, "monotonic", lambda: float(next(ticks)))

    return begin


def test_opening_is_given_up(make_video, tmp_path, slow):
    path = make_video(tmp_path / "clip.mp4")
    slow()
    with pytest.raises(BadVideoError, match=SAID) as caught, open_video(path, timeout=12):
        pass
    assert caught.value.path == str(path)
    with open_video(path, timeout=100) as video:
        assert len(video.timestamps) == 30


@pytest.mark.parametrize("order_is_known", [True, False])
def test_decoding_is_given_up(order_is_known, make_video, tmp_path, slow, monkeypatch):
    path = make_video(tmp_path / "clip.mp4")
    if not order_is_known:
        monkeypatch.setattr(videofile.PacketTimes, "numbers", lambda self: {})
    with open_video(path, timeout=1e9) as video:
        assert len(video.read([29])) == 1
        slow()
        video._deadline = frames.Deadline(path, 12)
        with pytest.raises(BadVideoError, match=SAID):
            video.read([29])
        video._deadline = frames.Deadline(path, 12)
        assert len(video.read([0])) == 1


def test_a_folder_is_given_up(tmp_path, slow):
    for number in range(30):
        Image.new("RGB", (8, 8)).save(tmp_path / f"{number}.png")
    slow()
    with open_video(tmp_path, timeout=12) as video:
        assert len(video.read([3, 4])) == 2
        with pytest.raises(BadVideoError, match=SAID):
            video.read(list(range(30)))


def test_the_container_is_interrupted(make_video, tmp_path):
    path = make_video(tmp_path / "clip.mp4")
    with pytest.raises(BadVideoError, match=r"longer than clip.decode_timeout=1e-09 s"), open_video(path, timeout=1e-9):
        pass


def test_another_clip_takes_the_place_of_a_slow_one(make_video, tmp_path, slow):
    clips = [Clip(name, make_video(tmp_path / name, length)) for name, length in (("long.mp4", 60), ("short.mp4", 4))]
    reader = FrameReader(StridePlanner(6), ClipSettings(size=16, decode_timeout=12))
    slow()
    sample = ClipDataset(clips, reader, seed=0, replace_bad=True)[SampleKey(0, 0)]
    assert sample.clip.id == "short.mp4"
    assert [(Path(path).name, SAID in reason) for path, reason in sample.bad] == [("long.mp4", True)]


def test_a_source_hands_it_to_its_reader(make_video, tmp_path, slow):
    make_video(tmp_path / "clip.mp4", 60)
    (tmp_path / "clip.txt").write_text("a square")
    patient, quick = (ClipSettings(size=16, decode_timeout=seconds) for seconds in (None, 12))
    clip = FolderData(root=tmp_path, clip=patient).clips("train")[0]
    slow()
    with pytest.raises(BadVideoError, match=SAID):
        FolderData(root=tmp_path, clip=quick).reader(StridePlanner(6)).read(clip, SampleKey(0, 0))
    assert len(read_video(clip.path, indices=[0])[0]) == 1
    FolderData(root=tmp_path, clip=patient).reader(StridePlanner(6)).read(clip, SampleKey(0, 0))
