"""What counts as a change of a clip's file."""

import os
from pathlib import Path

import pytest

from vtok.data.clip import Clip, Span
from vtok.data.file_identity import identify, is_unchanged


def of_file(folder: Path) -> tuple[Clip, Path]:
    (folder / "a.mp4").write_bytes(b"0123456789")
    return Clip(id="a", path=folder / "a.mp4"), folder / "a.mp4"


def of_frames(folder: Path) -> tuple[Clip, Path]:
    (folder / "frames").mkdir()
    for number in range(3):
        (folder / "frames" / f"{number}.jpg").write_bytes(b"0123456789")
    return Clip(id="a", path=folder / "frames"), folder / "frames" / "1.jpg"


def of_shard(folder: Path) -> tuple[Clip, Path]:
    (folder / "s.tar").write_bytes(b"0123456789")
    return Clip(id="a", path=folder / "s.tar" / "a.mp4", span=Span(str(folder / "s.tar"), 2, 5)), folder / "s.tar"


@pytest.mark.parametrize("make", [of_file, of_frames, of_shard])
def test_only_other_bytes_count_as_a_change(make, tmp_path: Path) -> None:
    clip, file = make(tmp_path)
    before = identify(clip)
    assert before is not None
    assert is_unchanged(clip, before)
    os.utime(file, (1, 1))
    assert is_unchanged(clip, before)
    file.write_bytes(b"01x3456789")
    os.utime(file, (2, 2))
    assert not is_unchanged(clip, before)
    assert not is_unchanged(clip, None)
    file.unlink()
    assert is_unchanged(clip, before) == (make is not of_frames)


def test_a_frame_more_is_a_change(tmp_path: Path) -> None:
    clip, _ = of_frames(tmp_path)
    before = identify(clip)
    (clip.path / "3.jpg").write_bytes(b"0123456789")
    assert not is_unchanged(clip, before)


def test_other_clips_of_the_shard_are_no_change(tmp_path: Path) -> None:
    clip, file = of_shard(tmp_path)
    before = identify(clip)
    file.write_bytes(b"01234567xx")
    assert is_unchanged(clip, before)


def test_a_remote_clip_is_identified_by_its_byte_range() -> None:
    clip = Clip(id="a", path=Path("s.tar/a.mp4"), span=Span("s3://bucket/s.tar", 2, 5))
    before = identify(clip)
    assert is_unchanged(clip, before)
    assert not is_unchanged(Clip(id="a", path=clip.path, span=Span("s3://bucket/s.tar", 3, 5)), before)
