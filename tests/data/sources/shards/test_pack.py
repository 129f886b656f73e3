"""Packing, checked against Python's tarfile, the packed files and the clips of the folder."""

import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vtok.common.errors import UserError
from vtok.data import BadVideoError, ClipSettings, FolderData, ShardData
from vtok.data.sources.base import SPLITS, DataSource
from vtok.data.sources.shards import pack as packing
from vtok.data.sources.shards.pack import pack
from vtok.data.sources.shards.scan import index_shards
from vtok.data.video.read import open_clip

SHARD = 12_000


def folder_of(root: Path, make_video, count: int = 7) -> Path:
    """Videos with several clips each, questions, splits that are written down, and a folder of frames."""
    rows = []
    for number in range(count):
        video = make_video(root / f"deep.er/{number}.MP4", 4 + number)
        name = video.relative_to(root).as_posix()
        group = {"group": "kitchen – ü"} if number in (2, 4) else {}
        rows.append({"video": name, "caption": f"clip {number} – ü"} | group)
        if number % 3 == 0:
            rows.append({"video": name, "start": 0.05, "end": 0.2, "question": "Red?", "answer": "yes"})
    rows[1]["split"] = "test"
    (root / "still").mkdir()
    for number in range(11):
        Image.fromarray(np.full((32, 40, 3), 20 * number, np.uint8)).save(root / "still" / f"f{number}.png")
    rows.append({"video": "still", "caption": "images"})
    (root / "manifest.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return root


@pytest.fixture
def root(tmp_path: Path, make_video) -> Path:
    (tmp_path / "root" / "deep.er").mkdir(parents=True)
    return folder_of(tmp_path / "root", make_video)


def folder(root: Path, **keys) -> FolderData:
    return FolderData(root=root, clip=ClipSettings(size=32), **keys)


def shards(root: Path | str, **keys) -> ShardData:
    return ShardData(root=str(root), clip=ClipSettings(size=32), **keys)


def facts(source: DataSource) -> dict:
    return {
        clip.id: (split, clip.caption, clip.questions, clip.attributes, clip.start, clip.end, clip.group)
        for split in SPLITS
        for clip in source.clips(split)
    }


def test_shards_are_plain_tars_that_hold_the_files_bit_for_bit(root, tmp_path):
    packed = pack(folder(root), tmp_path / "out", shard_bytes=SHARD)
    files: dict[str, bytes] = {}
    for shard in sorted((tmp_path / "out").glob("*.tar")):
        with tarfile.open(shard) as archive:
            names = archive.getnames()
            files |= {name: archive.extractfile(name).read() for name in names}
        # WebDataset: members of a sample follow each other, and a key ends at the first dot.
        keys = [name.split(".")[0] for name in names]
        assert keys == sorted(keys)
        assert shard.stat().st_size < SHARD + 2 * tarfile.RECORDSIZE
    assert packed.shards == len(list((tmp_path / "out").glob("*.tar"))) > 2
    assert {path.name for path in (tmp_path / "out").iterdir() if path.suffix != ".tar"} == {"index.arrow"}
    originals = sorted(path.read_bytes() for path in (root / "deep.er").iterdir())
    assert sorted(content for name, content in files.items() if name.endswith(".mp4")) == originals
    images = [files[name] for name in sorted(files) if name.endswith(".png")]
    assert images == [(root / "still" / f"f{number}.png").read_bytes() for number in range(11)]
    texts = [json.loads(content) for name, content in files.items() if name.endswith(".json")]
    assert {text["caption"] for text in texts} == {*(f"clip {number} – ü" for number in range(7)), "images"}


@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.9])
def test_the_clips_are_those_of_the_folder_whatever_is_held_out(root, tmp_path, fraction):
    pack(folder(root), tmp_path / "out", shard_bytes=SHARD)
    expected = facts(folder(root, test_fraction=fraction))
    assert facts(shards(tmp_path / "out", test_fraction=fraction)) == expected
    assert {split for split, *_ in expected.values()} == set(SPLITS)
    assert {group for *_, group in expected.values()} == {None, "kitchen – ü"}


def test_frames_from_shards_are_those_of_the_files(root, tmp_path):
    pack(folder(root), tmp_path / "out", shard_bytes=SHARD)
    source, packed = folder(root), shards(tmp_path / "out")
    originals = {clip.id: clip for split in SPLITS for clip in source.clips(split)}
    for split in SPLITS:
        for clip in packed.clips(split):
            with open_clip(clip) as here, open_clip(originals[clip.id]) as there:
                assert np.array_equal(here.timestamps, there.timestamps)
                chosen = range(len(there.timestamps))
                assert torch.equal(here.read(chosen, 24), there.read(chosen, 24))


def test_an_index_of_the_shards_alone_is_the_same_data_set(root, tmp_path):
    pack(folder(root), tmp_path / "out", shard_bytes=SHARD)
    before = facts(shards(tmp_path / "out"))
    (tmp_path / "out" / "index.arrow").unlink()
    indexed = index_shards(str(tmp_path / "out"), progress=False)
    assert (indexed.clips, indexed.bad) == (len(before), {})
    assert facts(shards(tmp_path / "out")) == before


def test_shards_of_shards(root, tmp_path):
    pack(folder(root), tmp_path / "one", shard_bytes=SHARD)
    pack(shards(tmp_path / "one"), tmp_path / "two", shard_bytes=10**9)
    assert facts(shards(tmp_path / "two")) == facts(shards(tmp_path / "one"))
    assert [path.name for path in (tmp_path / "two").glob("*.tar")] == ["shard-000000.tar"]
    clips = {clip.id: clip for clip in shards(tmp_path / "two").clips("train")}
    for clip in shards(tmp_path / "one").clips("train"):
        with open_clip(clip) as one, open_clip(clips[clip.id]) as two:
            assert torch.equal(one.read([0]), two.read([0]))


@pytest.mark.parametrize("at", [1, 4, 7])
def test_an_interrupted_packing_resumes_to_the_same_bytes(root, tmp_path, monkeypatch, at):
    pack(folder(root), tmp_path / "whole", shard_bytes=SHARD)
    add, calls = packing.Writer.add, []

    def breaking(self, key, placed):
        calls.append(key)
        if len(calls) > at:
            raise KeyboardInterrupt
        add(self, key, placed)

    monkeypatch.setattr(packing.Writer, "add", breaking)
    with pytest.raises(KeyboardInterrupt):
        pack(folder(root), tmp_path / "cut", shard_bytes=SHARD)
    assert not list((tmp_path / "cut").glob(".partial*"))
    with pytest.raises(UserError, match="there is no index"):
        shards(tmp_path / "cut").prepare()
    monkeypatch.setattr(packing.Writer, "add", lambda self, key, placed: (calls.append(key), add(self, key, placed)))
    calls.clear()
    pack(folder(root), tmp_path / "cut", shard_bytes=SHARD)
    assert len(calls) < 8 or at == 1
    whole, cut = ({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("whole", "cut"))
    assert whole == cut


def test_a_packing_of_other_clips_does_not_resume(root, tmp_path, monkeypatch):
    monkeypatch.setattr(packing, "_merge_indexes", lambda out: None)
    pack(folder(root), tmp_path / "out", shard_bytes=SHARD)
    with pytest.raises(UserError, match="shards of other clips"):
        pack(folder(root, test_fraction=0.6), tmp_path / "out", shard_bytes=SHARD)


def test_only_into_a_folder_of_its_own(root, tmp_path):
    with pytest.raises(UserError, match=r"holds other files \(deep.er\)"):
        pack(folder(root), root, shard_bytes=SHARD)
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "shard-000000.tar").write_bytes(b"not ours")
    with pytest.raises(UserError, match=r"shard-000000\.tar"):
        pack(folder(root), tmp_path / "foreign", shard_bytes=SHARD)
    pack(folder(root), tmp_path / "out", shard_bytes=SHARD)
    with pytest.raises(UserError, match="already holds packed shards"):
        pack(folder(root), tmp_path / "out", shard_bytes=SHARD)


def test_files_that_are_gone_are_left_out_counted_and_limited(root, tmp_path):
    source = folder(root)
    source.prepare()
    (root / "deep.er" / "3.MP4").unlink()
    packed = pack(source, tmp_path / "out", shard_bytes=SHARD, max_bad_fraction=0.3)
    gone = {"deep.er/3.MP4", "deep.er/3.MP4@0.05-0.2"}
    assert set(packed.left_out) == gone
    data = shards(tmp_path / "out")
    assert set(facts(data)) == set(facts(source)) - gone
    assert any("No such file" in reason for reason in data.bad.values())
    strict = folder(root)
    strict.prepare()
    with pytest.raises(UserError, match=r"max_bad_fraction=0\.05: 2 of"):
        pack(strict, tmp_path / "strict", shard_bytes=SHARD, max_bad_fraction=0.05)


def test_broken_files_stay_as_broken_as_they_were(root, tmp_path):
    (root / "deep.er" / "2.MP4").write_bytes(b"")
    (root / "deep.er" / "4.MP4").write_bytes((root / "deep.er" / "4.MP4").read_bytes()[:700])
    pack(folder(root), tmp_path / "out", shard_bytes=SHARD)
    broken = {}
    for clip in [clip for split in SPLITS for clip in shards(tmp_path / "out").clips(split)]:
        try:
            with open_clip(clip) as video:
                video.read([0])
        except BadVideoError as error:
            broken[clip.id] = error
    assert set(broken) == {"deep.er/2.MP4", "deep.er/4.MP4"}
    assert "empty" in broken["deep.er/2.MP4"].reason
    assert ".tar/0000000" in broken["deep.er/2.MP4"].path
