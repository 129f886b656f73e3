"""The three layouts of a folder, and what is wrong with folders."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest
from mlflow.utils.validation import _validate_metric_name

from vtok.common.errors import UserError
from vtok.data import ClipSettings
from vtok.data.clip import Question
from vtok.data.sources.annotations import questions_of
from vtok.data.sources.base import SPLITS
from vtok.data.sources.folder import FolderData


def source(root: Path, **keys) -> FolderData:
    return FolderData(root=root, clip=ClipSettings(size=32), **keys)


def every_clip(data: FolderData) -> dict:
    return {clip.id: clip for split in SPLITS for clip in data.clips(split)}


def test_videos_and_frame_folders_with_texts_beside_them(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "A.MP4").touch()
    (tmp_path / "deep" / "A.txt").write_text("a ball rolls\n", encoding="utf-8")
    (tmp_path / "b.webm").touch()
    answered = {"caption": "a cube", "question": "Which way?", "answer": "Left", "choices": ["left", "right"]}
    (tmp_path / "b.json").write_text(json.dumps(answered | {"category": "Motion_Direction", "start": 1, "end": 2.5}))
    (tmp_path / "._b.webm").touch()
    (tmp_path / "c" / "frames").mkdir(parents=True)
    (tmp_path / "c" / "frames" / "1.jpg").touch()
    (tmp_path / "c" / "caption.txt").write_text("ein Würfel", encoding="utf-8")
    data = source(tmp_path)
    clips = every_clip(data)
    assert sorted(clips) == ["b.webm@1-2.5", "c/frames", "deep/A.MP4"]
    assert clips["deep/A.MP4"].caption == "a ball rolls"
    assert clips["c/frames"].caption == "ein Würfel"
    assert clips["c/frames"].path == tmp_path / "c" / "frames"
    timed = clips["b.webm@1-2.5"]
    assert (timed.start, timed.end) == (1.0, 2.5)
    assert timed.questions == (Question("motion_direction", "choice", "Which way?", "left", ("left", "right")),)
    assert not data.bad


def test_clips_without_a_usable_text_are_noted(tmp_path):
    for name in ("good", "nothing", "latin", "blank", "broken", "wrong"):
        (tmp_path / f"{name}.mp4").touch()
    (tmp_path / "good.txt").write_text("fine")
    (tmp_path / "latin.txt").write_bytes("Würfel".encode("latin-1"))
    (tmp_path / "blank.txt").write_text(" \n")
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "wrong.json").write_text(
        json.dumps({"question": "Which?", "answer": "up", "choices": ["left", "right"]})
    )
    data = source(tmp_path)
    assert list(every_clip(data)) == ["good.mp4"]
    reasons = {Path(path).stem: reason for path, reason in data.bad.items()}
    assert set(reasons) == {"nothing", "latin", "blank", "broken", "wrong"}
    assert "nothing.json or nothing.txt" in reasons["nothing"]
    assert "UTF-8" in reasons["latin"]
    assert "neither a caption nor a question" in reasons["blank"]
    assert "not valid JSON" in reasons["broken"]
    assert "'up' is not one of the choices" in reasons["wrong"]


def test_ignored_files_are_listed(tmp_path, caplog):
    for name in (
        "a.ts",
        "b.GIF",
        "c.mpg",
        "d.wmv",
        "e.flv",
        "f.mp4",
        "f.srt",
        "g.pdf",
        "h",
        "i.npy",
        ".j.pdf",
        "k.pdf",
    ):
        (tmp_path / name).touch()
    for stem in "abcdefgh":
        (tmp_path / f"{stem}.txt").write_text(f"clip {stem}")
    (tmp_path / ".j.txt").touch()
    data = source(tmp_path)
    assert sorted(every_clip(data)) == ["a.ts", "b.GIF", "c.mpg", "d.wmv", "e.flv", "f.mp4"]
    assert not data.bad
    (said,) = [record.getMessage() for record in caplog.records]
    assert "2 files with a .txt or .json beside them are not read" in said
    assert said.endswith(f"Examples: {tmp_path / 'g.pdf'}, {tmp_path / 'h'}.")


def test_manifest_jsonl_in_any_case(tmp_path):
    rows = [
        {"file": "a.mp4", "caption": "a", "split": "train"},
        {"Video": "sub/b.mp4", "caption": "b", "split": "test", "licence": "none"},
        {"path": "c.mp4", "question": "Is it red?", "answer": True, "category": "colour"},
        {"path": "c.mp4", "question": "What is it?", "answer": "a ball"},
        {"path": "c.mp4", "start": 2, "end": 4, "caption": "later"},
        {"path": "d.mp4", "questions": ["One?", "Two?"], "answers": ["1", "2"], "choices": ["1", "2"]},
        {"path": "d.mp4", "caption": ""},
    ]
    (tmp_path / "MANIFEST.jsonl").write_text("\ufeff" + "\n\n".join(map(json.dumps, rows)), encoding="utf-8")
    data = source(tmp_path)
    clips = every_clip(data)
    assert list(sorted(clips)) == ["a.mp4", "c.mp4", "c.mp4@2-4", "d.mp4", "sub/b.mp4"]
    assert "a.mp4" in {clip.id for clip in data.clips("train")}
    assert "sub/b.mp4" in {clip.id for clip in data.clips("test")}
    yes, opened = clips["c.mp4"].questions
    assert yes == Question("colour", "yes_no", "Is it red?", "yes", ("yes", "no"))
    assert opened == Question("general", "open", "What is it?", "a ball")
    assert [question.answer for question in clips["d.mp4"].questions] == ["1", "2"]
    assert [str(tmp_path / "d.mp4")] == list(data.bad)


def test_manifest_csv_by_name(tmp_path):
    (tmp_path / "manifest.jsonl").write_text("not read")
    (tmp_path / "list.csv").write_text(
        "video,caption,question,answer,choices,start,end\n"
        'a.mp4,"a, b",How many?,2,1|2|3,,\n'
        "b.mp4,b,,,,0.5,1.5\n"
        "b.mp4,another,,,,0.5,1.5\n"
    )
    clips = every_clip(source(tmp_path, manifest="list.csv"))
    assert sorted(clips) == ["a.mp4", "b.mp4@0.5-1.5", "b.mp4@0.5-1.5#2"]
    assert clips["a.mp4"].caption == "a, b"
    assert clips["a.mp4"].questions[0].choices == ("1", "2", "3")


def test_manifest_parquet(tmp_path):
    table = pa.table(
        {
            "Video": ["a.mp4", "b.mp4", "c.mp4", "d.mp4"],
            "caption": ["a", None, "c", "d"],
            "question": [None, "How many?", None, None],
            "answer": [None, "2", None, None],
            "choices": [None, ["1", "2"], [], None],
            "questions": [
                [],
                None,
                [{"question": "Red?", "answer": "no"}, {"question": "Big?", "answer": "yes"}],
                None,
            ],
            "start": [float("nan"), None, None, 1.5],
            "split": ["test", None, None, None],
            "licence": [1, 2, 3, 4],
        }
    )
    pa.parquet.write_table(table, tmp_path / "manifest.parquet", row_group_size=2)
    data = source(tmp_path)
    clips = every_clip(data)
    assert sorted(clips) == ["a.mp4", "b.mp4", "c.mp4", "d.mp4@1.5-"]
    assert "a.mp4" in {clip.id for clip in data.clips("test")}
    assert clips["b.mp4"].questions == (Question("general", "choice", "How many?", "2", ("1", "2")),)
    assert [question.answer for question in clips["c.mp4"].questions] == ["no", "yes"]
    assert not data.bad
    (tmp_path / "manifest.parquet").write_bytes(b"PAR1")
    with pytest.raises(UserError, match=r"manifest.parquet is not a readable parquet file"):
        source(tmp_path).prepare()


def test_real_manifest(clips_dir):
    data = source(clips_dir)
    clips = every_clip(data)
    assert len(clips) == 16
    assert all(clip.path.exists() and clip.caption for clip in clips.values())
    assert data.clips("test")
    assert not data.bad


def test_a_manifest_may_lie_elsewhere(tmp_path, make_video, monkeypatch):
    (tmp_path / "clips").mkdir()
    (tmp_path / "lists").mkdir()
    make_video(tmp_path / "clips" / "a.mp4", 2)
    (tmp_path / "lists" / "asked.jsonl").write_text('{"video": "a.mp4", "caption": "elsewhere"}')
    monkeypatch.chdir(tmp_path)
    for manifest in (tmp_path / "lists" / "asked.jsonl", "lists/asked.jsonl", "../lists/asked.jsonl"):
        (clip,) = every_clip(source("clips", manifest=manifest)).values()
        assert (clip.path, clip.caption) == (Path("clips/a.mp4"), "elsewhere")
    (tmp_path / "clips" / "lists").mkdir()
    (tmp_path / "clips" / "lists" / "asked.jsonl").write_text('{"video": "a.mp4", "caption": "in the root"}')
    (clip,) = every_clip(source("clips", manifest="lists/asked.jsonl")).values()
    assert clip.caption == "in the root"


@pytest.mark.parametrize("video", ["../a.mp4", "x/../../a.mp4", "/etc/a.mp4", "..\\a.mp4"])
def test_a_manifest_does_not_leave_the_root(video, tmp_path):
    (tmp_path / "manifest.jsonl").write_text(json.dumps({"video": video, "caption": "a"}))
    with pytest.raises(UserError, match=r"line 1: .*outside data.root"):
        source(tmp_path).prepare()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ('{"caption": "a"}', "line 1 has no video"),
        ('{"video": "a.mp4", "caption": "a"}\n{', "manifest.jsonl line 2: it is not valid JSON"),
        ('{"video": "a.mp4", "caption": "a"}\n[1]', "line 2 is not a JSON object"),
        (
            '{"video": "a.mp4", "caption": "a", "split": "dev"}',
            "split=dev is unknown. Use train, validation, val, test",
        ),
        ("", "no usable clip"),
    ],
)
def test_manifests_that_cannot_be_read(content, reason, tmp_path):
    (tmp_path / "manifest.jsonl").write_text(content)
    with pytest.raises(UserError, match=reason):
        source(tmp_path).prepare()


def test_invalid_roots_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"data.root=.*missing does not exist. Give .*sample/frames.*manifest"):
        source(tmp_path / "missing").prepare()
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"data.root=.* is not a folder"):
        source(tmp_path / "file").prepare()
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"data.root=.*no usable clip .*Give .*sample/frames.*mp4.*manifest"):
        source(tmp_path / "empty").prepare()
    for name in ("manifest.csv", "Manifest.jsonl"):
        (tmp_path / "empty" / name).touch()
    with pytest.raises(UserError, match=r"Manifest.jsonl, manifest.csv.*Choose one: data.manifest"):
        source(tmp_path / "empty").prepare()
    with pytest.raises(UserError, match=r"data.manifest=other.jsonl"):
        source(tmp_path / "empty", manifest="other.jsonl").prepare()


@pytest.mark.parametrize(
    ("name", "category"),
    [("Camera Motion", "camera motion"), ("left/right?", "left_right_"), (None, "general"), ("what: 1.5", "what: 1.5")],
)
def test_categories_are_names_of_metrics(name: str | None, category: str) -> None:
    fields = {"question": "which?", "answer": "a", "choices": "a|b", "category": name}
    (question,) = questions_of({key: field for key, field in fields.items() if field is not None})
    assert question.category == category
    _validate_metric_name(f"alignment/{category}")


@pytest.mark.parametrize("name", ["..", ".", "colour_low", "Colour_Questions", "x_by_prior", "x_majority"])
def test_categories_that_would_break_or_shadow_metrics_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"the category {name!r} cannot name a metric"):
        questions_of({"question": "which?", "answer": "a", "choices": "a|b", "category": name})


def test_videos_without_text_are_clips_only_where_none_is_needed(tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "b.txt").write_text("a caption")
    found = every_clip(source(tmp_path, needs_text=False))
    assert {name: clip.caption for name, clip in found.items()} == {"a.mp4": None, "b.mp4": "a caption"}
    (tmp_path / "manifest.jsonl").write_text('{"video": "a.mp4"}\n{"video": "b.mp4", "caption": "another"}')
    for needed, ids in ((False, {"a.mp4", "b.mp4"}), (True, {"b.mp4"})):
        assert every_clip(source(tmp_path, needs_text=needed)).keys() == ids
