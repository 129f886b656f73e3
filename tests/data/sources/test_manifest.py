"""What is written in manifests and beside videos: damaged files are refused with the line, wrong clips are left out."""

import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest

from vtok.common.errors import UserError
from vtok.data import BadVideoError, Clip, ClipSettings, FolderData, Question
from vtok.data.sources.annotations import clip_of, questions_of, range_of
from vtok.data.sources.base import SPLITS
from vtok.data.video.image_folder import BadVideoError as SameError
from vtok.data.video.read import open_clip

CHOICE = Question("general", "choice", "which?", "blue", ("red", "blue"))
YES = Question("general", "yes_no", "which?", "yes", ("yes", "no"))
DICT = {"A": "red", "B": "blue"}


def clips_of(root: Path, **keys) -> tuple[list[Clip], dict[str, str]]:
    data = FolderData(root=root, clip=ClipSettings(size=32), **keys)
    data.prepare()
    return sorted((clip for split in SPLITS for clip in data.all_clips(split)), key=lambda clip: clip.id), data.bad


def refusal(root: Path, name: str, content: bytes) -> str:
    (root / name).write_bytes(content)
    with pytest.raises(UserError) as caught:
        clips_of(root)
    assert not isinstance(caught.value, SameError)
    return str(caught.value)


@pytest.mark.parametrize(
    ("fields", "question"),
    [
        ({"answer": "B", "choices": DICT}, CHOICE),
        ({"answer": "blue", "choices": DICT}, CHOICE),
        ({"answer": 1, "choices": {"0": "red", "1": "blue", "2": None}}, CHOICE),
        ({"answer": "BLUE", "candidates": ["red", "blue"]}, CHOICE),
        ({"answer": "blue", "options": "red|blue"}, CHOICE),
        ({"answer": "B", "Options": DICT}, CHOICE),
        ({"answer": "A", "choices": {"A": "Yes", "B": "No"}}, YES),
    ],
)  # fmt: skip
def test_choices_as_data_sets_write_them(fields, question):
    lower = {name.lower(): value for name, value in fields.items()}
    assert questions_of({"question": "which?"} | lower) == (question,)
    assert questions_of({"questions": [{"Question": "which?"} | fields]}) == (question,)
    assert questions_of({"questions": {"question": "which?"} | fields}) == (question,)


def test_each_of_several_questions_has_choices_of_its_own():
    fields = {"questions": ["which?", "how many?"], "answers": ["B", 2], "choices": [DICT, ["1", "2"]]}
    assert questions_of(fields) == (CHOICE, Question("general", "choice", "how many?", "2", ("1", "2")))


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"question": "which?", "answer": "C", "choices": DICT}, "'C' is not one of the choices red, blue"),
        ({"question": "which?", "answer": "B", "choices": ["red", "blue"]}, "'B' is not one of the choices"),
        ({"question": "which?", "answer": "red", "choices": 3}, "choices has type int"),
        ({"question": "which?", "answer": "a", "choices": [["a"], "b"]}, "choice has type list"),
        ({"question": "which?", "answer": "a", "choices": ["a", "b"], "options": ["c"]}, "both choices and options"),
        ({"question": "which?", "answer": ["a"]}, "answer has type list"),
        ({"question": {"text": ["a"]}, "answer": "a"}, "question has type list"),
        ({"question": "which?", "answer": "a", "category": ["b"]}, "category has type list"),
        ({"questions": ["a?", "b?"], "answers": ["a", "b"], "choices": [["a", "b"]]}, "2 lists of choices, or one"),
        ({"caption": ["a"]}, "caption has type list"),
        ({"caption": {"a": 1}}, "caption has type dict"),
        ({"caption": "a", "start": "soon"}, "start is not a number"),
        ({"caption": "a", "start": True}, "start is not a number"),
        ({"caption": "a", "start": 10**400}, "start is not a number"),
        ({"caption": "a", "start": float("inf")}, "start=inf"),
        ({"caption": "a", "start": "nan"}, "start=nan"),
        ({"caption": "a", "start": "1e400"}, "start=inf"),
        ({"caption": "a", "start": 1e300}, r"start=1e\+300"),
        ({"caption": "a", "start": -1}, "start=-1"),
        ({"caption": "a", "end": "inf"}, "end=inf"),
        ({"caption": "a", "start": 2, "end": 2}, "end=2 is not after start=2"),
        ({}, "neither a caption nor a question"),
    ],
)
def test_wrong_clips_are_left_out_and_the_others_stay(fields, reason, tmp_path):
    rows = [{"video": "good.mp4", "caption": "fine"}, {"video": "bad.mp4"} | fields]
    (tmp_path / "manifest.jsonl").write_text("\n".join(map(json.dumps, rows)))
    clips, bad = clips_of(tmp_path)
    assert [clip.id for clip in clips] == ["good.mp4"]
    with pytest.raises(ValueError, match=reason) as caught:
        clip_of("bad.mp4", Path("bad.mp4"), fields)
    assert bad == {str(tmp_path / "bad.mp4"): str(caught.value)}


def test_ranges_of_seconds():
    assert range_of({}) == (0.0, None)
    assert range_of({"start": "1.5", "end": 2}) == (1.5, 2.0)


@pytest.mark.parametrize("name", ["c\0.mp4", "a" * 252 + ".mp4", "/".join(["d" * 200] * 25) + ".mp4", "\ud800.mp4"])
def test_names_that_no_file_has_are_left_out(name, tmp_path):
    rows = [{"video": "good.mp4", "caption": "fine"}, {"video": name, "caption": "a"}]
    (tmp_path / "manifest.jsonl").write_text("\n".join(map(json.dumps, rows)))
    clips, bad = clips_of(tmp_path)
    assert [clip.id for clip in clips] == ["good.mp4"]
    ((path, reason),) = bad.items()
    assert "its name" in reason
    assert not set(path) & {"\0", "\ud800"}


def test_the_faulty_manifests(faults_dir):
    with pytest.raises(UserError, match=r"manifest.csv line 2 has 3 cells, but the header has 2\..*double quotes"):
        clips_of(faults_dir / "csv_commas")
    blue = Question("general", "choice", "which?", "blue", ("red", "blue"))
    assert [clip.questions for clip in clips_of(faults_dir / "choices_dict")[0]] == [(blue,)] * 6
    red = Question("general", "choice", "which?", "red", ("red", "blue"))
    assert [clip.questions for clip in clips_of(faults_dir / "choices_column")[0]] == [(red,)] * 6
    clips, bad = clips_of(faults_dir / "nul_in_manifest")
    assert [clip.caption for clip in clips] == [f"t{number}" for number in range(6)]
    assert bad == {
        str(faults_dir / "nul_in_manifest" / "c0\\x00.mp4"): "its name holds a NUL, which a file name cannot have"
    }


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"video,caption\na.mp4,a dog, two cats\n", "line 2 has 3 cells, but the header has 2"),
        (b'video,caption\n\na.mp4,"a\nb"\nb.mp4\n', "line 5 has 1 cells"),
        (b'video,caption\na.mp4,"a dog\nb.mp4,b\n', "line 2 is not CSV"),
        (b'video,caption\na.mp4,"a" dog\n', "line 2 is not CSV"),
        (b"video;caption\na.mp4;a\n", "no column video, its columns are video;caption"),
        (b"video,caption,Caption\na.mp4,a,b\n", "two columns caption"),
        ("video,caption\na.mp4,Würfel\n".encode("latin-1"), "line 2 is not UTF-8 text .byte 0xfc"),
        ("video,caption\na.mp4,a\n".encode("utf-16"), "it is UTF-16 text"),
        (b"video,caption\n" + b"a" * 200_000 + b",a\n", "line 2 is not CSV"),
        (b"video,caption,split\na.mp4,a,dev\n", "split=dev"),
        (b"video,caption\n,a\n", "line 2 has no video"),
        (b"", "no usable clip"),
    ],
)
def test_csv_files_that_are_refused(content, reason, tmp_path):
    (tmp_path / "manifest.csv").write_bytes(content)
    with pytest.raises(UserError, match=reason):
        clips_of(tmp_path)


@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
def test_csv_files_that_are_right(ends, tmp_path):
    lines = ['"video",caption,,', 'a.mp4,"a ""b"", c",1,', "", f'b.mp4,"two{ends}lines",,2', 'c.mp4,5" disk,,', ""]
    (tmp_path / "manifest.csv").write_bytes(b"\xef\xbb\xbf" + ends.join(lines).encode())
    clips, _ = clips_of(tmp_path)
    assert [clip.caption for clip in clips] == ['a "b", c', f"two{ends}lines", '5" disk']


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"[" * 20_000, "line 2: it is not valid JSON .it is nested too deep"),
        (b'{"video": "b.mp4", "caption": ' + b"1" * 5_000 + b"}", "line 2: it is not valid JSON"),
        ('{"video": "b.mp4", "caption": "Würfel"}'.encode("latin-1"), "line 2 is not UTF-8 text .byte 0xfc"),
        ("\ufeff{}".encode("utf-16"), "line 2 is not UTF-8"),
        (b'{"video": "b.mp4", "Video": "c.mp4", "caption": "a"}', "line 2: it has two fields video"),
        (b'{"video": ["b.mp4"], "caption": "a"}', "line 2 has no video"),
        (b'{"video": "b.mp4", "caption": "a", "split": ["val"]}', "line 2: split=list"),
        (b'{"video": "/' + b"b" * 10_000 + b'"}', "line 2: the video /b{99}[.]{3} is outside data.root"),
    ],
)
def test_jsonl_files_that_are_refused(line, reason, tmp_path):
    (tmp_path / "manifest.jsonl").write_bytes(b'{"video": "a.mp4", "caption": "a"}\n' + line + b"\n")
    with pytest.raises(UserError, match=reason) as caught:
        clips_of(tmp_path)
    assert len(str(caught.value)) < 1000


def test_parquet_files_that_are_refused(tmp_path):
    file = tmp_path / "manifest.parquet"
    pa.parquet.write_table(pa.table({"film": ["a.mp4"], "caption": ["a"]}), file)
    with pytest.raises(UserError, match="no column video, its columns are film, caption"):
        clips_of(tmp_path)
    pa.parquet.write_table(pa.table([["a.mp4"], ["a"], ["b"]], ["video", "caption", "Caption"]), file)
    with pytest.raises(UserError, match="two columns caption"):
        clips_of(tmp_path)
    pa.parquet.write_table(pa.table({"video": [b"a.mp4"], "caption": ["a"]}), file)
    with pytest.raises(UserError, match="row 1 has no video"):
        clips_of(tmp_path)
    content = file.read_bytes()
    for damaged in (b"", b"PAR1", content[:-20], content[20:], b"{}"):
        file.write_bytes(damaged)
        with pytest.raises(UserError, match=r"manifest.parquet is not a readable parquet file"):
            clips_of(tmp_path)


def test_other_columns_of_a_parquet_file_are_not_read(tmp_path):
    late = pa.array([10**15], pa.timestamp("ms"))  # a date that Python has not
    pa.parquet.write_table(
        pa.table({"Video ": ["a.mp4"], "caption": ["a"], "made": late}), tmp_path / "manifest.parquet"
    )
    clips, bad = clips_of(tmp_path)
    assert [(clip.id, clip.caption) for clip in clips] == [("a.mp4", "a")]
    assert not bad


def test_captions_of_one_video_are_clips_and_questions_join_the_clip_before(tmp_path):
    rows = [{"video": "a.mp4", "caption": f"caption {number}"} for number in range(3000)]
    rows += [{"video": "a.mp4#2", "caption": "a name that is taken"}, {"video": "a.mp4", "caption": "caption 1"}]
    asked = [{"video": "a.mp4", "question": f"{number}?", "answer": "yes"} for number in range(3000)]
    (tmp_path / "manifest.jsonl").write_text("\n".join(map(json.dumps, rows + asked)))
    clips = {clip.id: clip for clip in clips_of(tmp_path)[0]}
    names = ["a.mp4", *(f"a.mp4#{number}" for number in range(2, 3001))]
    assert [clips[name].caption for name in names] == [f"caption {number}" for number in range(3000)]
    assert clips["a.mp4#2#2"].caption == "a name that is taken"
    assert len(clips) == 3001
    assert [question.text for question in clips["a.mp4#3000"].questions] == [f"{number}?" for number in range(3000)]


def test_ranges_that_differ_little_are_different_clips(tmp_path):
    rows = [{"video": "a.mp4", "start": start, "question": "?", "answer": "yes"} for start in (10000.01, 10000.02)]
    (tmp_path / "manifest.jsonl").write_text("\n".join(map(json.dumps, rows)))
    clips, _ = clips_of(tmp_path)
    assert [(clip.id, clip.start) for clip in clips] == [("a.mp4@10000.01-", 10000.01), ("a.mp4@10000.02-", 10000.02)]
    assert [len(clip.questions) for clip in clips] == [1, 1]


def test_file_names_that_are_not_utf8(make_video, tmp_path):
    name = os.fsdecode("Würfel.mp4".encode("latin-1"))
    make_video(tmp_path / "a.mp4", 2).rename(tmp_path / name)
    (tmp_path / name).with_suffix(".txt").write_text("a cube")
    (tmp_path / name).with_name(os.fsdecode(b"\xfc.mp4")).touch()
    (beside,), bad = clips_of(tmp_path)
    (tmp_path / "manifest.jsonl").write_text(json.dumps({"video": name, "caption": "a cube"}))
    (listed,), _ = clips_of(tmp_path)
    assert beside == listed
    assert beside.id == "W\\udcfcrfel.mp4"
    assert list(bad) == [str(tmp_path / "\\udcfc.mp4")]
    with open_clip(listed) as video:
        assert video.read([0]).shape == (1, 3, 48, 64)
    error = BadVideoError(listed.path, f"{name} is broken")
    # What is printed, logged and written as UTF-8.
    "".join((listed.id, error.path, error.reason, str(error), *bad, *bad.values())).encode()


def test_a_sidecar_with_too_long_a_name_is_ignored(tmp_path):
    (tmp_path / ("a" * 251 + ".mp4")).touch()
    (tmp_path / ("a" * 251 + ".txt")).write_text("fine")
    (clip,), bad = clips_of(tmp_path)
    assert (clip.caption, bad) == ("fine", {})


@pytest.mark.parametrize(
    "content", [b"\xff\xfe{\x00}\x00", b"[" * 20_000, b'{"caption": "\xfc"}', b"[]", b"", b"1" * 5000]
)
def test_sidecars_that_cannot_be_read_are_noted(content, tmp_path):
    for name in ("good", "bad"):
        (tmp_path / f"{name}.mp4").touch()
    (tmp_path / "good.txt").write_bytes(b"\xef\xbb\xbffine\r\n")
    (tmp_path / "bad.json").write_bytes(content)
    clips, bad = clips_of(tmp_path)
    assert [clip.caption for clip in clips] == ["fine"]
    assert bad[str(tmp_path / "bad.mp4")].startswith("bad.json: ")


def test_long_names_of_folders_and_manifests(tmp_path):
    for keys in ({"root": tmp_path / ("a" * 300)}, {"root": tmp_path, "manifest": "a" * 300 + ".csv"}):
        with pytest.raises(UserError, match=r"data.(root|manifest)=.*aaa.*(does not exist|has such a file)"):
            FolderData(clip=ClipSettings(size=32), **keys).prepare()
    with pytest.raises(BadVideoError, match="File name too long"), open_clip(Clip("a", tmp_path / ("a" * 300))):
        pass
