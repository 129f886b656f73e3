"""Manifests, sidecars, indices and shards broken at random: a right result or one sentence, never another exception.

`pytest tests/data/sources/test_fuzz_manifests.py --fuzz 20000` reads more of them. A failure names its seed.
"""

import csv
import io
import json
import os
import random
import runpy
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest
from PIL import Image

from vtok.common.errors import UserError
from vtok.data import BadVideoError, Clip, ClipSettings, DataSource, FolderData, ShardData
from vtok.data.sources.shards.scan import index_shards
from vtok.data.video.read import open_clip

mutate = runpy.run_path(str(Path(__file__).parents[1] / "mutate.py"))["mutate"]

ROWS = [
    {"video": "a.mp4", "caption": 'a "dog", two\ncats', "start": 1, "end": 2.5},
    {"video": "b.mp4", "caption": "Würfel", "split": "val"},
    {"video": "c.mp4", "question": "which?", "answer": "B", "choices": {"A": "red", "B": "blue"}, "category": "colour"},
    {"video": "d.mp4", "question": "how many?", "answer": 2, "candidates": ["1", "2"], "split": "train"},
    {"video": "e.mp4", "questions": [{"question": "Is it red?", "answer": True}, {"text": "?", "answer": "x"}]},
]
HOSTILE = (
    b'"', b",", b"\n", b"\r", b"\0", b"\xff", b"\xef\xbb\xbf", b"\xff\xfe", b"{", b"[" * 5000, b"1e400", b"-1", b"NaN",
    b'"\\ud800"', b"9" * 5000, b"../", b"x" * 300, b"\x1b[31m", b"null", b"true", b"|", b";", b'"video":', b"caption",
)  # fmt: skip


def broken(content: bytes, chooser: random.Random) -> bytes:
    """Bytes flipped, cut or spliced, or what is hostile put in at a few places."""
    if chooser.random() < 0.4:
        return mutate(content, [content], chooser)
    for _ in range(chooser.randint(1, 3)):
        at = chooser.randrange(len(content) + 1)
        content = content[:at] + chooser.choice(HOSTILE) + content[at + chooser.randrange(4) :]
    return content


def table(names: list[str]) -> bytes:
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, names, extrasaction="ignore")
    writer.writeheader()
    writer.writerows(ROWS)
    return file.getvalue().encode()


def parquet() -> bytes:
    file = io.BytesIO()
    rows = [{name: str(value) for name, value in row.items()} for row in ROWS]
    columns = {name: [row.get(name) for row in rows] for name in ("video", "caption", "question", "answer", "split")}
    pa.parquet.write_table(pa.table(columns), file)
    return file.getvalue()


def clips_of(source: DataSource) -> list[Clip]:
    source.prepare()
    return [*source.clips("train"), *source.clips("test")]


def check(clips: list[Clip], bad: dict[str, str]) -> None:
    """Every clip has texts that can be written as UTF-8, and a file name that the system accepts."""
    for clip in clips:
        assert 0 <= clip.start < (1e9 if clip.end is None else clip.end) <= 1e9
        assert clip.caption or clip.questions
        for question in clip.questions:
            assert question.kind == "open" or question.answer in question.choices
        os.path.lexists(clip.path)
        # Strict UTF-8: raises where a half of a character is left.
        repr((clip.id, clip.caption, clip.questions)).encode()
        "".join((clip.id, clip.caption or "", *(question.text for question in clip.questions))).encode()
    assert len({clip.id for clip in clips}) == len(clips)
    "".join((*bad, *bad.values())).encode()


def texts_of(name: str, content: bytes) -> set[str] | None:
    """All texts in the cells of a manifest that is right, by plain means; None where that says nothing."""
    if name.endswith("parquet"):
        return None
    text = content.decode("utf-8-sig")
    if name.endswith("csv"):
        rows = [row for row in csv.reader(io.StringIO(text, newline=""), strict=True) if row]
        assert {len(row) for row in rows} == {len(rows[0])}
        return {cell.strip() for row in rows for cell in row}
    cells = [cell for line in text.split("\n") if line.strip() for cell in json.loads(line).values()]
    return {cell.encode("utf-8", "replace").decode().strip() for cell in cells if isinstance(cell, str)}


def test_broken_manifests_and_sidecars(request, tmp_path):
    whole = {
        "manifest.jsonl": "\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS).encode(),
        "manifest.csv": table(["video", "caption", "question", "answer", "start", "end", "split"]),
        "manifest.parquet": parquet(),
        "a.json": json.dumps(ROWS[2]).encode(),
        "a.txt": "Würfel\n".encode(),
    }
    count = request.config.getoption("--fuzz") * 2
    refused = 0
    for seed in range(count):
        chooser = random.Random(seed)
        name = chooser.choice(list(whole))
        root = tmp_path / name
        root.mkdir(exist_ok=True)
        for file in ("a.mp4", "good.mp4"):
            (root / file).touch()
        (root / "good.txt").write_text("good")
        content = broken(whole[name], chooser)
        (root / name).write_bytes(content)
        source = FolderData(root=root, clip=ClipSettings(size=16))
        reason, clips = None, []
        try:
            clips = clips_of(source)
        except UserError as error:
            reason = str(error)
        except Exception as error:
            raise AssertionError(f"seed {seed}: {name}") from error
        check(clips, source.bad)
        refused += reason is not None
        if not name.startswith("manifest"):
            assert (reason, "good" in {clip.caption for clip in clips}) == (None, True), seed
        elif reason is not None:
            assert len(reason) < 3000, seed
        elif (texts := texts_of(name, content)) is not None:
            assert {clip.caption for clip in clips if clip.caption} <= texts, seed
    assert 0 < refused < count


@pytest.mark.parametrize("layout", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_broken_indices_and_shards(layout, request, tmp_path):
    png = io.BytesIO()
    Image.new("RGB", (16, 16), (9, 9, 9)).save(png, "PNG")
    asked = json.dumps({"question": "which?", "answer": "a", "choices": ["a", "b"]}).encode()
    members = {"0.png": b"", "0.json": asked, "1.0.png": b"", "1.1.png": b"", "1.txt": b"two", "x" * 150 + ".png": b""}
    with tarfile.open(tmp_path / "a.tar", "w", format=layout) as archive:
        for name, text in {**members, "x" * 150 + ".txt": b"three"}.items():
            content = text or png.getvalue()
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    index_shards(str(tmp_path), progress=False)
    whole = {name: (tmp_path / name).read_bytes() for name in ("a.tar", "index.arrow")}
    seen = {"frames": 0, "bad": 0, "refused": 0}
    for seed in range(request.config.getoption("--fuzz") // 4):
        chooser = random.Random(seed)
        name = chooser.choice(list(whole))
        for file, content in whole.items():
            (tmp_path / file).write_bytes(broken(content, chooser) if file == name else content)
        try:
            if name == "a.tar" and chooser.random() < 0.7:
                index_shards(str(tmp_path), progress=False)
            source = ShardData(root=str(tmp_path), clip=ClipSettings(size=16))
            clips = clips_of(source)
            check(clips, source.bad)
            for clip in clips:
                try:
                    with open_clip(clip) as frames:
                        assert frames.read([0], 16).shape == (1, 3, 16, 16)
                    seen["frames"] += 1
                except BadVideoError:
                    seen["bad"] += 1
        except UserError:
            seen["refused"] += 1
        except Exception as error:
            raise AssertionError(f"seed {seed}: {name}") from error
    assert min(seen.values()) > 0, seen
