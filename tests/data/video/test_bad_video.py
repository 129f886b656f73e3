"""Files that are not complete videos."""

import pickle
import wave
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from vtok.data.video.common import BadVideoError
from vtok.data.video.read import open_video, read_video


def write_bad(folder: Path, make_video) -> dict[str, tuple[Path, str]]:
    """Broken files by kind, with a word of the reason that must be given."""
    files = {
        "missing": (folder / "missing.mp4", "no such file"),
        "zero": (folder / "zero.mp4", "empty"),
        "text": (folder / "text.mp4", "cannot be decoded"),
        "screen": (folder / "screen.txt", "not in a video format"),
        "random": (folder / "random.mp4", "cannot be decoded"),
        "truncated": (folder / "truncated.mp4", "cannot be decoded"),
        "audio": (folder / "audio.avi", "not in a video format"),
        "folder": (folder / "empty_folder", "holds no frames"),
        "image": (folder / "bad_frames", "0.jpg"),
    }
    files["zero"][0].touch()
    for kind in ("text", "screen"):
        files[kind][0].write_text("This is not a video.\n" * 200)
    files["random"][0].write_bytes(np.random.default_rng(0).bytes(20_000))
    whole = make_video(folder / "whole.mp4").read_bytes()
    files["truncated"][0].write_bytes(whole[: len(whole) // 2])
    with wave.open(str(files["audio"][0]), "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", "NONE"))
        sound.writeframes(bytes(16_000))
    files["folder"][0].mkdir()
    files["image"][0].mkdir()
    (files["image"][0] / "0.jpg").write_bytes(b"not a JPEG")
    return files


KINDS = ("missing", "zero", "text", "screen", "random", "truncated", "audio", "folder", "image")


@pytest.mark.parametrize("kind", KINDS)
def test_bad_files_are_reported_with_path_and_reason(kind, make_video, tmp_path):
    path, reason = write_bad(tmp_path, make_video)[kind]
    with pytest.raises(BadVideoError, match=reason) as caught:
        read_video(path, stride=6, size=32)
    assert caught.value.path == str(path)
    assert str(caught.value) == f"{path}: {caught.value.reason}."
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_truncated_files_give_their_frames_and_report_the_missing_ones(make_video, tmp_path):
    cuts = {
        "cut.mkv": ("libx264", {"g": "6"}),
        "cut.avi": ("mpeg4", {"g": "6"}),
        "cut.webm": ("libvpx", {"g": "6"}),
        "cut.mp4": ("libx264", {"g": "6", "bf": "0", "movflags": "faststart"}),
    }
    for name, (codec, options) in cuts.items():
        noise = np.random.default_rng(0).integers(0, 256, (60, 48, 64, 3), dtype=np.uint8)
        path = make_video(tmp_path / name, noise, codec, options=options)
        whole = read_video(path, stride=1)[0]
        content = path.read_bytes()
        if name == "cut.mp4":
            content = _index_first(path)
        path.write_bytes(content[: len(content) // 2])
        with open_video(path) as video:
            present = len(video.timestamps)
            assert 10 < present < 50, name
            assert video.missing > 0.3, name
        assert read_video(path, indices=[5])[0].equal(whole[[5]]), name
        with pytest.raises(BadVideoError, match="truncated: frame 59 "):
            read_video(path, indices=[0, 59])


def test_complete_files_miss_nothing(make_video, tmp_path, clips_dir):
    made = [
        make_video(tmp_path / "a.mkv"),
        make_video(tmp_path / "a.mp4"),
        make_video(tmp_path / "a.avi", codec="mpeg4"),
    ]
    for path in [*made, *sorted(clips_dir.glob("*.[mwa][pkev]*"))]:
        with open_video(path) as video:
            assert video.missing == 0, path


@pytest.mark.parametrize(("name", "shift"), [("late.mkv", 41.0), ("early.mp4", -0.3), ("early_open.mp4", -0.6)])
def test_files_that_begin_late_or_are_trimmed_miss_nothing(name, shift, make_video, tmp_path):
    params = {"x264-params": f"open-gop={int('open' in name)}:keyint=12:bframes=3:scenecut=0:b-adapt=0"}
    whole, path = make_video(tmp_path / "whole.mp4", 60, options=params), tmp_path / name
    options = {"avoid_negative_ts": "disabled"} if shift < 0 else {}
    with av.open(str(whole)) as source, av.open(str(path), "w", options=options) as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                packet.pts += round(shift / packet.time_base)
                packet.dts += round(shift / packet.time_base)
                packet.stream = stream
                target.mux(packet)
    with av.open(str(path)) as container:
        times = [frame.time for frame in container.decode(video=0)]
    with open_video(path) as video:
        np.testing.assert_allclose(video.timestamps, times)
        assert len(times) < 60 or shift > 0
        assert video.missing == 0


def test_the_cover_of_an_album_is_no_video(tmp_path):
    cover = tmp_path / "cover.png"
    Image.new("RGB", (16, 16)).save(cover)
    path = tmp_path / "song.mp4"
    with av.open(str(cover)) as picture, av.open(str(path), "w") as song:
        image = song.add_stream_from_template(picture.streams.video[0])
        image.disposition = av.stream.Disposition.attached_pic
        for packet in picture.demux(video=0):
            if packet.size:
                packet.stream = image
                song.mux(packet)
    with pytest.raises(BadVideoError, match="no video stream"):
        read_video(path, indices=[0])


def _index_first(path: Path) -> bytes:
    """The mp4 with its index before its frames, as downloads that break off have it."""
    first = path.with_name("first.mp4")
    with av.open(str(path)) as source, av.open(str(first), "w", options={"movflags": "faststart"}) as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                target.mux(packet)
    return first.read_bytes()
