"""Broken clips are logged once and counted, and stop a run if there are too many."""

import logging
from dataclasses import replace
from pathlib import Path

import pytest

from vtok.common.errors import UserError
from vtok.data import Clip, ClipDataset, ClipSettings, FolderData
from vtok.data.broken_clips import BadFiles
from vtok.data.clip_reader import FrameReader
from vtok.data.plan import StridePlanner
from vtok.evaluation import missing_files
from vtok.evaluation.clips import heldout_loader


def test_each_broken_file_is_logged_once(caplog):
    bad = BadFiles(clips=10, max_fraction=0.1)
    with caplog.at_level(logging.WARNING):
        bad.add([("a.mp4", "empty"), ("b.mp4", "text")])
        bad.add((("a.mp4", "empty"),))
        bad.add([])
    assert [record.getMessage() for record in caplog.records] == [
        "skipped a broken clip: a.mp4: empty",
        "skipped a broken clip: b.mp4: text",
    ]
    assert bad.count == 2


def test_too_many_stop_the_run_with_the_list():
    just, over = BadFiles(clips=250, max_fraction=0.1), BadFiles(clips=249, max_fraction=0.1)
    for bad in (just, over):
        bad.add((f"{number}.mp4", "empty") for number in range(25))
    just.check()
    with pytest.raises(UserError, match=r"loader.max_bad_fraction=0.1: 25 of 249 clips are broken") as caught:
        over.check()
    assert str(caught.value).count("empty") == 20
    assert str(caught.value).endswith("and 5 more")


def test_clips_of_one_file_have_labels_of_their_own():
    for clip_id in ("0.mp4", "clips/0.mp4", "0"):
        assert Clip(clip_id, Path("clips/0.mp4")).label == "clips/0.mp4"
    assert Clip("0.mp4~arrow-1", Path("clips/0.mp4")).label == "clips/0.mp4 (0.mp4~arrow-1)"


def test_every_clip_of_a_broken_file_counts(tmp_path: Path):
    (tmp_path / "0.mp4").touch()
    clips = [Clip(f"0.mp4#{number}", tmp_path / "0.mp4", start=number) for number in range(3)]
    reader = FrameReader(StridePlanner(1), ClipSettings(size=8), frames_fps=24.0)
    dataset = ClipDataset(clips, reader, seed=0, replace_bad=False)
    bad = BadFiles(clips=30, max_fraction=0.05)
    for batch in heldout_loader(dataset, batch_size=2, num_workers=0):
        bad.add(batch.bad)
    assert bad.count == 3
    with pytest.raises(UserError, match=r"3 of 30 clips are broken"):
        bad.check()
    missing = [replace(clip, path=tmp_path / "1.mp4") for clip in clips]
    assert len(missing_files(FolderData(root=tmp_path, clip=ClipSettings(size=8)), missing)) == 3


def test_none_allowed():
    bad = BadFiles(clips=10, max_fraction=0.0)
    bad.check()
    bad.add([("a.mp4", "empty")])
    with pytest.raises(UserError, match=r"a.mp4: empty"):
        bad.check()
