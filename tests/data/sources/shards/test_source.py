"""Shards as a data set: local and remote, in workers, over ranks, after a stop."""

import os
import pickle
import shutil
from itertools import islice
from pathlib import Path

import fsspec
import pyarrow as pa
import pytest
import torch
from torch.utils.data import DataLoader

from vtok.common.errors import UserError
from vtok.data import BadVideoError, Clip, ClipDataset, ClipSettings, FolderData, ShapesData, ShardData
from vtok.data.plan import StridePlanner
from vtok.data.sources.shards.index import SCHEMA, Shard, to_batch, write_index
from vtok.data.sources.shards.pack import pack
from vtok.data.sources.shards.records import to_clip
from vtok.data.storage import read_span
from vtok.data.video.read import open_clip


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """22 training and 5 held-out clips in some ten shards."""
    folder = tmp_path_factory.mktemp("shards")
    source = ShapesData(
        root=str(folder / "made"),
        clip=ClipSettings(size=32, num_frames=4),
        train_clips=22,
        validation_clips=3,
        test_clips=5,
        pixels=32,
        make_workers=1,
    )
    pack(source, folder / "packed", shard_bytes=12_000, progress=False)
    return folder / "packed"


@pytest.fixture
def bucket(packed: Path) -> str:
    """The same on a server."""
    memory = fsspec.filesystem("memory")
    for file in packed.iterdir():
        memory.pipe(f"/bucket/{file.name}", file.read_bytes())
    yield "memory://bucket"
    memory.rm("/bucket", recursive=True)


def shards(root: Path | str, **keys) -> ShardData:
    return ShardData(root=str(root), clip=ClipSettings(size=32), **keys)


def frames_of(clip: Clip) -> torch.Tensor:
    with open_clip(clip) as video:
        return video.read(range(len(video.timestamps)))


def test_the_home_folder_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert shards("~/x", index_cache="~/y").index_cache == tmp_path / "y"


def test_a_server_gives_the_same_clips_and_frames(packed, bucket, tmp_path):
    here, there = shards(packed), shards(bucket, index_cache=str(tmp_path / "cache"))
    for split, count in (("train", 22), ("validation", 3), ("test", 5)):
        assert len(here.clips(split)) == len(there.clips(split)) == count
        for one, other in zip(here.clips(split), there.clips(split), strict=True):
            assert (one.id, one.caption, one.questions, one.attributes) == (
                other.id, other.caption, other.questions, other.attributes,
            )  # fmt: skip
            assert torch.equal(frames_of(one), frames_of(other))
    # The index alone is kept on this machine.
    assert [path.suffix for path in sorted((tmp_path / "cache").iterdir())] == [".arrow", ".lock"]


def test_an_index_that_changed_on_the_server_is_fetched_again(packed, bucket, tmp_path):
    assert len(shards(bucket, index_cache=str(tmp_path)).clips("train")) == 22
    pack(shards(packed, limit=7), tmp_path / "fewer", shard_bytes=12_000, progress=False)
    for file in (tmp_path / "fewer").iterdir():
        fsspec.filesystem("memory").pipe(f"/bucket/{file.name}", file.read_bytes())
    assert len(shards(bucket, index_cache=str(tmp_path)).clips("train")) == 7


def test_clips_are_created_on_access(packed, monkeypatch):
    made = []
    monkeypatch.setattr("vtok.data.sources.shards.source.to_clip", lambda row, **keys: made.append(row["id"]))
    clips = shards(packed).clips("train")
    assert len(pickle.dumps(clips[3:20])) < 1000
    assert len(clips[5:][2:4]) == 2
    assert not made
    clips[5:][2:4][1]
    clips[-1]
    assert made == ["train-000008", "train-000021"]
    with pytest.raises(IndexError):
        clips[22]


def test_a_limit_and_a_list(packed):
    data = shards(packed, limit=3)
    assert [clip.id for clip in data.clips("train")] == [f"train-{n:06d}" for n in range(3)]
    assert len(data.all_clips("train")) == 22


def order(source: ShardData, *, workers: int, start: int, count: int, context: str = "fork", **ranks) -> list:
    """The samples that a loader gives, as (epoch, id, frames)."""
    reader = source.reader(StridePlanner(1))
    loader = DataLoader(
        ClipDataset(source.clips("train"), reader, seed=0, replace_bad=True),
        batch_size=None,
        sampler=source.sampler(seed=3, start=start, **ranks),
        num_workers=workers,
        multiprocessing_context=context if workers else None,
    )
    return [(sample.epoch, sample.clip.id, int(sample.frames.sum())) for sample in islice(loader, count)]


@pytest.mark.parametrize("buffer", [None, 6])
def test_a_stopped_run_goes_on_in_the_same_order_with_any_workers(packed, buffer):
    whole = order(shards(packed, shuffle_buffer=buffer), workers=0, start=0, count=50)
    assert {epoch for epoch, *_ in whole} == {0, 1, 2}
    for workers in (0, 2):
        rest = order(shards(packed, shuffle_buffer=buffer), workers=workers, start=31, count=19)
        assert rest == whole[31:]


def test_spawned_workers_read_the_same(packed):
    source = shards(packed)
    assert order(source, workers=1, start=0, count=5, context="spawn") == order(source, workers=0, start=0, count=5)


@pytest.mark.parametrize("buffer", [None, 6])
def test_ranks_share_an_epoch(packed, buffer):
    shares = [
        order(shards(packed, shuffle_buffer=buffer), workers=0, start=0, count=11, rank=rank, world_size=2)
        for rank in (0, 1)
    ]
    ids = [{name for _, name, _ in share} for share in shares]
    assert not ids[0] & ids[1]
    assert len(ids[0] | ids[1]) == 22


def test_a_server_that_fails_is_asked_again(packed, bucket, tmp_path, monkeypatch):
    clip = shards(bucket, index_cache=str(tmp_path)).clips("train")[0]
    expected, paused, calls = frames_of(clip), [], []
    system = type(fsspec.filesystem("memory"))
    cat = system.cat_file

    def failing(self, path, start=None, end=None, **keys):
        calls.append(path)
        if len(calls) < 4:
            raise RuntimeError("503: slow down")
        return cat(self, path, start=start, end=end)

    monkeypatch.setattr("vtok.data.storage.time.sleep", paused.append)
    monkeypatch.setattr(system, "cat_file", failing)
    assert torch.equal(frames_of(clip), expected)
    assert paused == [1.0, 2.0, 4.0]
    monkeypatch.setattr(system, "cat_file", lambda *given, **keys: (_ for _ in ()).throw(RuntimeError("503")))
    with pytest.raises(BadVideoError, match="failed 5 times, last with RuntimeError: 503"):
        frames_of(clip)


def test_shards_that_go_or_shrink_during_a_run_break_their_clips_alone(packed, bucket, tmp_path):
    shutil.copytree(packed, tmp_path / "copy")
    local, remote = shards(tmp_path / "copy"), shards(bucket, index_cache=str(tmp_path / "cache"))
    for source in (local, remote):
        source.prepare()
    memory = fsspec.filesystem("memory")
    (tmp_path / "copy" / "shard-000001.tar").unlink()
    memory.rm("/bucket/shard-000001.tar")
    cut = (packed / "shard-000000.tar").read_bytes()[:1500]
    (tmp_path / "copy" / "shard-000000.tar").write_bytes(cut)
    memory.pipe("/bucket/shard-000000.tar", cut)
    for source in (local, remote):
        reasons = []
        for clip in source.clips("train"):
            try:
                frames_of(clip)
            except BadVideoError as error:
                reasons.append(error.reason)
        assert any("bytes could be read" in reason for reason in reasons)
        assert 2 <= len(reasons) < 22


def test_shards_that_do_not_match_their_index_are_refused_at_the_start(packed, bucket, tmp_path):
    shutil.copytree(packed, tmp_path / "copy")
    shard = tmp_path / "copy" / "shard-000001.tar"
    size = shard.stat().st_size
    shard.write_bytes(shard.read_bytes() + bytes(512))
    fsspec.filesystem("memory").pipe("/bucket/shard-000001.tar", shard.read_bytes())
    expected = rf"shard-000001.tar has {size + 512} bytes, but had {size} .*vtok data index root="
    with pytest.raises(UserError, match=expected):
        shards(tmp_path / "copy").prepare()
    with pytest.raises(UserError, match=expected):
        shards(bucket, index_cache=str(tmp_path / "cache")).prepare()
    shard.unlink()
    with pytest.raises(UserError, match=r"a shard of its index cannot be read.*vtok data index"):
        shards(tmp_path / "copy").prepare()


def test_invalid_roots_are_refused(tmp_path, bucket):
    with pytest.raises(UserError, match=r"there is no index .*index.arrow. Make it with: vtok data index root="):
        shards(tmp_path / "missing").prepare()
    with pytest.raises(UserError, match=r"there is no index memory://elsewhere/index.arrow"):
        shards("memory://elsewhere", index_cache=str(tmp_path)).prepare()
    (tmp_path / "index.arrow").write_bytes(b"no index")
    with pytest.raises(UserError, match=r"index.arrow cannot be read as an index .*vtok data index"):
        shards(tmp_path).prepare()
    with pytest.raises(UserError, match=r"cannot read this kind of URL"):
        shards("nosuch://bucket", index_cache=str(tmp_path)).prepare()


@pytest.mark.parametrize("wrong", [{"test_fraction": 1.0}, {"validation_fraction": 0.9}, {"shuffle_buffer": 0}])
def test_wrong_values_name_their_key(wrong, tmp_path):
    with pytest.raises(UserError, match=f"data.{next(iter(wrong))}="):
        shards(tmp_path, **wrong)


def test_a_span_is_exactly_its_bytes(packed, bucket):
    clip = shards(packed).clips("train")[1]
    content = (packed / Path(clip.span.url).name).read_bytes()
    assert read_span(clip.span) == content[clip.span.offset : clip.span.offset + clip.span.size]


@pytest.mark.parametrize(
    ("column", "value"),
    [("shard", 1), ("shard", -1), ("offset", -1), ("size", 2**60), ("start", float("inf")), ("end", 0)],
)  # fmt: skip
def test_an_index_whose_rows_cannot_be_is_refused_at_the_start(column, value, tmp_path):
    (tmp_path / "a.tar").write_bytes(bytes(10_240))
    good = {"id": "a", "shard": 0, "member": "a.mp4", "offset": 512, "size": 9728, "frames": False, "start": 0.0}
    for row, message in ((good, None), (good | {column: value}, r"index.arrow is damaged .row 2 ")):
        write_index(tmp_path / "index.arrow", [Shard("a.tar", 10_240)], [to_batch([good, row | {"id": "b"}])])
        if message is None:
            shards(tmp_path).prepare()
            continue
        with pytest.raises(UserError, match=message):
            shards(tmp_path).prepare()


@pytest.mark.parametrize(
    "about", ["[]", "{}", '{"version": 1}', '{"version": 1, "shards": [["a\\u0000", 3]]}', "[" * 20_000]
)
def test_an_index_of_others_is_refused(about, tmp_path):
    schema = SCHEMA.with_metadata({"vtok": about})
    with pa.OSFile(str(tmp_path / "index.arrow"), "wb") as file, pa.ipc.new_file(file, schema):
        pass
    with pytest.raises(UserError, match=r"index.arrow (cannot be read as an index|is not an index of this version)"):
        shards(tmp_path).prepare()


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("questions", "{"),
        ("questions", "[" * 20_000),
        ("questions", "[1]"),
        ("questions", '[{"category": "a", "kind": "choice", "text": "?", "answer": "c", "choices": ["a", "b"]}]'),
        ("questions", '[{"category": "a", "kind": "other", "text": "?", "answer": "a", "choices": []}]'),
        ("attributes", "[]"),
    ],
)
def test_a_row_with_other_questions_is_a_broken_clip(column, value):
    row = {"id": "a", "member": "a.mp4", "caption": None, "questions": None, "attributes": None, "start": 0.0}
    row |= {"end": None, "unseen": None, "offset": 0, "size": 0, "frames": False, column: value}
    with pytest.raises(BadVideoError, match=r"a.mp4: its row of the index is damaged"):
        to_clip(row, url="a.tar", path=Path("a.mp4"))


def test_a_name_that_is_not_utf8_is_packed(make_video, tmp_path):
    (tmp_path / "from").mkdir()
    name = os.fsdecode(b"W\xfcrfel.mp4")
    make_video(tmp_path / "a.mp4", 2).rename(tmp_path / "from" / name)
    (tmp_path / "from" / name).with_suffix(".txt").write_text("a cube\non a table")
    (tmp_path / "from" / "b.mp4").symlink_to("missing")
    (tmp_path / "from" / "b.txt").write_text("gone")
    source = FolderData(root=tmp_path / "from", clip=ClipSettings(size=32))
    pack(source, tmp_path / "to", shard_bytes=10**6, max_bad_fraction=0.5, progress=False)
    data = shards(tmp_path / "to")
    (clip,) = [*data.clips("train"), *data.clips("test")]
    assert (clip.id, clip.caption) == ("W\\udcfcrfel.mp4", "a cube\non a table")
    assert len(frames_of(clip)) == 2
