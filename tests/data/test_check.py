"""`vtok data check`, `vtok data preview`, and texts that are too long to be used."""

import json
import re
from pathlib import Path

import pytest
from PIL import Image

from vtok.cli.main import main
from vtok.common.errors import UserError
from vtok.config import compose
from vtok.training import train


@pytest.fixture
def folder(tmp_path: Path, make_video) -> Path:
    """Twelve clips, of which three are broken in three ways."""
    root = tmp_path / "clips"
    root.mkdir()
    for number in range(12):
        make_video(root / f"{number:02}.mp4", 14, codec="mpeg4" if number % 2 else "libx264")
        (root / f"{number:02}.txt").write_text(f"clip number {number}")
    (root / "03.mp4").write_bytes(b"")
    (root / "04.mp4").write_text("no video")
    (root / "05.txt").write_bytes(b"\xff\xfe\x00bad")
    return root


def test_a_report_of_what_there_is_and_what_is_broken(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "report.json"
    given = ["data=folder", f"data.root={folder}", f"out={out}", "processes=1"]
    assert main(["data", "check", *given]) == 1
    expected = capsys.readouterr().err
    assert "3 of 12 clips are broken, more than loader.max_bad_fraction=0.1" in expected
    assert main(["data", "check", *given, "loader.max_bad_fraction=0.5"]) == 0
    shown = capsys.readouterr().out
    assert "64x48 9" in shown
    report = json.loads(out.read_text())
    assert report["codecs"] == {"h264": 5, "mpeg4": 4}
    assert report["frames"] == 9 * 14
    assert sum(report["splits"].values()) == 11
    assert {Path(name).name for name in report["broken"]} == {"03.mp4", "04.mp4", "05.mp4"}
    assert "not UTF-8" in next(reason for name, reason in report["broken"].items() if name.endswith("05.mp4"))
    assert report["seconds"]["median"] == pytest.approx(13 / 24, abs=1e-3)


def test_groups_and_splits_are_reported(tmp_path: Path, make_video, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [("train", "kitchen"), ("train", "kitchen"), ("val", "office"), ("test", None), ("test", None)]
    lines = []
    for number, (split, group) in enumerate(rows):
        # Two ranges of one file, in two splits.
        video = "0.mp4" if number == 4 else f"{number}.mp4"
        make_video(tmp_path / video, 14)
        asked = {"video": video, "caption": f"clip {number}", "split": split, "end": 0.2 if number == 4 else None}
        lines.append(json.dumps(asked | ({} if group is None else {"group": group})))
    (tmp_path / "manifest.jsonl").write_text("\n".join(lines))
    out = tmp_path / "report.json"
    assert main(["data", "check", "data=folder", f"data.root={tmp_path}", f"out={out}", "processes=1"]) == 1
    assert "the group kitchen has rows of the splits test and train" in capsys.readouterr().err
    lines[4] = lines[4].replace("0.mp4", "3.mp4").replace('"split": "test"', '"split": "train"')
    (tmp_path / "manifest.jsonl").write_text("\n".join(lines))
    assert main(["data", "check", "data=folder", f"data.root={tmp_path}", f"out={out}", "processes=1"]) == 0
    shown = capsys.readouterr().out
    assert "5: 3 to train, 1 to validate, 1 to test" in shown
    assert "4: 2 to train, 1 to validate, 1 to test" in shown
    assert f"in several splits  {tmp_path / '3.mp4'}" in shown
    report = json.loads(out.read_text())
    assert report["groups"] == {"train": 2, "validation": 1, "test": 1}
    assert report["groups_in_several_splits"] == [str(tmp_path / "3.mp4")]


def test_several_processes_find_the_same(folder: Path, tmp_path: Path) -> None:
    given = ["data=folder", f"data.root={folder}", "loader.max_bad_fraction=1"]
    for processes in (1, 2):
        where = [f"out={tmp_path / str(processes)}.json", f"processes={processes}"]
        assert main(["data", "check", *given, *where]) == 0
    assert (tmp_path / "1.json").read_text() == (tmp_path / "2.json").read_text()


def test_real_clips_are_complete(clips_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check", "data=folder", f"data.root={clips_dir}", "data.limit=2", "processes=1"]) == 0
    assert "broken   0" in capsys.readouterr().out


def test_a_contact_sheet(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("03.mp4", "04.mp4"):
        (folder / name).unlink()
    sheets = []
    for name in ("a.png", "b.png"):
        given = ["data=folder", f"data.root={folder}", f"out={tmp_path / name}", "clips=4"]
        assert main(["data", "preview", *given]) == 0
        sheets.append((tmp_path / name).read_bytes())
    assert sheets[0] == sheets[1]
    with Image.open(tmp_path / "a.png") as sheet:
        assert sheet.width > 400
    assert main(["data", "preview", "clips=0"]) == 1
    assert "clips=0" in capsys.readouterr().err


def test_a_text_that_is_too_long_is_a_broken_clip(tiny_run: list[str], tmp_path: Path, make_video) -> None:
    """A caption of 100 KB in training is skipped, counted and logged, for any number of workers."""
    root = tmp_path / "clips"
    root.mkdir()
    lines = []
    for number in range(14):
        make_video(root / f"{number}.mp4", 13)
        caption = "very " * 20_000 + "long" if number == 7 else f"clip {number}"
        split = {12: "validation", 13: "test"}.get(number, "train")
        lines.append(json.dumps({"file": f"{number}.mp4", "caption": caption, "split": split}))
    (root / "manifest.jsonl").write_text("\n".join(lines))
    small = [
        item
        for item in tiny_run
        if not item.startswith(("data.train", "data.validation", "data.test", "data.make", "data.num_w"))
    ]
    settings = [*small, "data=folder", f"data.root={root}", "trainer.max_steps=4", "loader.max_bad_fraction=0.1"]
    ended = [
        train(compose([*settings, f"loader.num_workers={workers}"]), run_dir=tmp_path / str(workers))
        for workers in (0, 2)
    ]
    assert [figures["data/bad_files"] for figures in ended] == [1, 1]
    assert ended[0]["digest/trained"] == ended[1]["digest/trained"]
    log = (tmp_path / "0" / "train.log").read_text()
    assert log.count("7.mp4") == 1
    assert "more than mllm.context_length=" in log
    with pytest.raises(UserError, match=r"loader.max_bad_fraction=0.0.*\n.*7.mp4"):
        train(compose([*settings[:-1], "loader.max_bad_fraction=0"]), run_dir=tmp_path / "strict")


def test_a_clip_before_the_truncation_of_its_file_is_complete(tmp_path: Path, make_video) -> None:
    """As in training: two clips of one truncated file, of which the cut is in the second."""
    whole = make_video(tmp_path / "whole.mkv", 60)
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "cut.mkv").write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    rows = [
        {"file": "cut.mkv", "caption": name, "start": start, "end": start + 0.5, "split": split}
        for name, start, split in (("early", 0.0, "train"), ("late", 2.0, "test"))
    ]
    (tmp_path / "clips" / "manifest.jsonl").write_text("\n".join(map(json.dumps, rows)))
    given = [
        "data=folder",
        f"data.root={tmp_path / 'clips'}",
        "loader.max_bad_fraction=1",
        f"out={tmp_path / 'r.json'}",
    ]
    assert main(["data", "check", *given, "processes=1"]) == 0
    broken = json.loads((tmp_path / "r.json").read_text())["broken"]
    assert list(broken) == ["cut.mkv@2-2.5"]


def test_twins_are_counted_and_each_file_is_read_once(clips_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["data=twins", f"data.source.root={clips_dir}", "data.source.limit=2", "data.categories=[arrow,odd]"]
    assert main(["data", "check", *given, "processes=1"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    number = int(re.search(r"clips (\d+):", said)[1])
    assert f"twins odd {3 * number}, arrow {2 * number} broken 0" in said


def test_twins_stand_beside_each_other_on_a_contact_sheet(clips_dir: Path, tmp_path: Path) -> None:
    given = ["data=twins", f"data.source.root={clips_dir}", "data.categories=[arrow]", "clips=2"]
    for name, others in {"a": [], "b": ["seed=3"]}.items():
        assert main(["data", "preview", *given, *others, f"out={tmp_path / name}.png"]) == 0
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
