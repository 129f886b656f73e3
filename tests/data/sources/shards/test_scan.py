"""Shards of other tools: WebDataset's layout, and contents that are refused."""

import gzip
import io
import json
import tarfile
from pathlib import Path

import pytest
import torch
from PIL import Image

from vtok.common.errors import UserError
from vtok.data import BadVideoError, ClipSettings, Question, ShardData, read_video
from vtok.data.sources.base import SPLITS
from vtok.data.sources.shards.scan import index_shards, scan_shard
from vtok.data.video.image_folder import images_in
from vtok.data.video.read import open_clip


def write_tar(path: Path, members: dict[str, bytes | tarfile.TarInfo], **keys) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", **keys) as archive:
        for name, content in members.items():
            if isinstance(content, tarfile.TarInfo):
                archive.addfile(content)
                continue
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def shards(root: Path | str, **keys) -> ShardData:
    return ShardData(root=str(root), clip=ClipSettings(size=32), **keys)


def every_clip(data: ShardData) -> dict:
    return {clip.id: clip for split in SPLITS for clip in data.clips(split)}


@pytest.fixture
def video(tmp_path: Path, make_video) -> bytes:
    return make_video(tmp_path / "video.mp4", 6).read_bytes()


@pytest.mark.parametrize("layout", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_webdataset_layout(video, tmp_path, layout):
    long = "d/" + "n" * (20 if layout == tarfile.USTAR_FORMAT else 150)
    asked = {"Caption": "a cube", "question": "Which way?", "answer": "Left", "choices": ["left", "right"]}
    write_tar(
        tmp_path / "wds" / "a-00.tar",
        {
            "0001.txt": "ein Würfel\n".encode(),
            "0001.mp4": video,
            "./0002.JSON": json.dumps(asked | {"start": 0.1, "split": "val", "group": 7}).encode(),
            "./0002.MP4": video,
            f"{long}.mp4": video,
            f"{long}.txt": b"long",
            "__0003.cls": b"1",
        },
        format=layout,
    )
    write_tar(tmp_path / "wds" / "sub" / "b.tar", {"0001.webm": video, "0001.json": b'{"caption": "b"}'})
    indexed = index_shards(str(tmp_path / "wds"), progress=False)
    assert (indexed.clips, indexed.shards, indexed.bad) == (4, 2, {})
    data = shards(tmp_path / "wds")
    clips = every_clip(data)
    assert set(clips) == {"a-00.tar/0001.mp4", "a-00.tar/0002.MP4@0.1-", f"a-00.tar/{long}.mp4", "sub/b.tar/0001.webm"}
    assert clips["a-00.tar/0001.mp4"].caption == "ein Würfel"
    asked_clip = clips["a-00.tar/0002.MP4@0.1-"]
    assert asked_clip.questions == (Question("general", "choice", "Which way?", "left", ("left", "right")),)
    assert "a-00.tar/0002.MP4@0.1-" in {clip.id for clip in data.clips("validation")}
    assert asked_clip.group == "7"
    expected, _ = read_video(tmp_path / "video.mp4", stride=1)
    for clip in clips.values():
        with open_clip(clip) as opened:
            assert torch.equal(opened.read(range(6)), expected)


def test_images_of_a_key_are_one_clip_in_natural_order(tmp_path):
    def png(level: int) -> bytes:
        file = io.BytesIO()
        Image.new("RGB", (16, 16), (level, level, level)).save(file, "PNG")
        return file.getvalue()

    order = [10, 2, 1, 11, 0]
    members = {f"7.f{number}.png": png(number) for number in order}
    write_tar(tmp_path / "a.tar", {"6.0.png": png(99), "6.txt": b"one", **members, "7.txt": b"five", "8.0.png": b""})
    index_shards(str(tmp_path), progress=False)
    clips = every_clip(shards(tmp_path))
    assert set(clips) == {"a.tar/6", "a.tar/7"}
    with open_clip(clips["a.tar/7"]) as frames:
        assert frames.read(range(5))[:, 0, 0, 0].tolist() == [0, 1, 2, 10, 11]


def test_members_that_lead_outside_the_shard_are_not_read(video, tmp_path):
    (tmp_path / "secret.mp4").write_bytes(video)
    text = b'{"caption": "a"}'
    write_tar(
        tmp_path / "wds" / "a.tar",
        {
            "good.mp4": video,
            "good.json": text,
            "/abs.mp4": video,
            "/abs.json": text,
            "../up.mp4": video,
            "x/../../up.json": text,
            "link.mp4": link("link.mp4", str(tmp_path / "secret.mp4")),
            "link.json": text,
            "hard.mp4": link("hard.mp4", "good.mp4", tarfile.LNKTYPE),
            "device.mp4": link("device.mp4", "", tarfile.CHRTYPE),
            "fifo.mp4": link("fifo.mp4", "", tarfile.FIFOTYPE),
        },
    )
    indexed = index_shards(str(tmp_path / "wds"), progress=False)
    reasons = {name.removeprefix("a.tar/"): reason for name, reason in indexed.bad.items()}
    out = {"/abs.mp4", "/abs.json", "../up.mp4", "x/../../up.json"}
    assert {name for name, reason in reasons.items() if "leads outside" in reason} == out
    assert {name for name, reason in reasons.items() if "a link, a device" in reason} == {
        "link.mp4", "hard.mp4", "device.mp4", "fifo.mp4",
    }  # fmt: skip
    data = shards(tmp_path / "wds")
    assert list(every_clip(data)) == ["a.tar/good.mp4"]
    assert len(data.bad) == 8


def test_samples_without_a_usable_text_are_noted(video, tmp_path):
    members = {
        "good.mp4": video, "good.txt": b"fine", "nothing.mp4": video, "latin.mp4": video, "latin.txt": b"W\xfcrfel",
        "broken.mp4": video, "broken.json": b"{", "deep.mp4": video, "deep.json": b"[" * 100_000,
        "wrong.mp4": video, "wrong.json": b'{"caption": 3}', "dev.mp4": video,
        "dev.json": b'{"caption": "a", "split": "dev"}',
        "fake.mp4": video, "fake.json": b'{"clips": [{"id": "x"}]}', "odd.mp4": video, "odd.json": b'{"clips": 3}',
        "half.mp4": video, "half.json": b'{"caption": "\\ud800 half"}',
    }  # fmt: skip
    write_tar(tmp_path / "a.tar", members)
    indexed = index_shards(str(tmp_path), progress=False)
    reasons = {name.removeprefix("a.tar/").removesuffix(".mp4"): reason for name, reason in indexed.bad.items()}
    assert set(reasons) == {"nothing", "latin", "broken", "deep", "wrong", "dev", "fake", "odd"}
    assert "no nothing.json or nothing.txt" in reasons["nothing"]
    assert "not UTF-8" in reasons["latin"]
    assert "split=dev" in reasons["dev"]
    assert every_clip(shards(tmp_path))["a.tar/half.mp4"].caption == "? half"


@pytest.mark.parametrize("keep", [0.97, 0.6, 0.3])
def test_a_truncated_shard_keeps_its_complete_clips(video, tmp_path, keep):
    members = {f"{n}.{kind}": video if kind == "mp4" else b"a" for n in range(5) for kind in ("txt", "mp4")}
    whole = write_tar(tmp_path / "a.tar", members)
    with tarfile.open(whole) as archive:
        ends = [member.offset_data + member.size for member in archive if member.name.endswith("mp4")]
    size = int(ends[-1] * keep)
    whole.write_bytes(whole.read_bytes()[:size])
    indexed = index_shards(str(tmp_path), progress=False)
    assert indexed.clips == sum(end <= size for end in ends)
    assert any("damaged or truncated after" in reason for reason in indexed.bad.values())
    for clip in every_clip(shards(tmp_path)).values():
        with open_clip(clip) as opened:
            assert len(opened.timestamps) == 6


def test_an_overwritten_header_ends_a_shard_with_a_reason(video, tmp_path):
    shard = write_tar(
        tmp_path / "a.tar", {f"{n}.{kind}": video for n in range(3) for kind in ("mp4",)} | {"3.txt": b""}
    )
    with tarfile.open(shard) as archive:
        place = archive.getmember("1.mp4").offset
    content = bytearray(shard.read_bytes())
    content[place : place + 512] = bytes(range(256)) * 2
    shard.write_bytes(content)
    indexed = index_shards(str(tmp_path), progress=False)
    assert indexed.bad["a.tar"] == "the shard is damaged or truncated after 0.mp4 (a header cannot be read)"


@pytest.mark.parametrize("content", [b"", b"not a tar" * 100])
def test_a_file_that_is_not_a_tar_is_recorded(content, video, tmp_path):
    (tmp_path / "a.tar").write_bytes(content)
    write_tar(tmp_path / "b.tar", {"0.mp4": video, "0.txt": b"a"})
    assert "a.tar" in index_shards(str(tmp_path), progress=False).bad
    assert list(every_clip(shards(tmp_path))) == ["b.tar/0.mp4"]


def test_shards_that_cannot_be_indexed_are_refused(video, tmp_path):
    with pytest.raises(UserError, match="there are no tar files"):
        index_shards(str(tmp_path), progress=False)
    plain = write_tar(tmp_path / "a.tar", {"0.mp4": video})
    (tmp_path / "b.tar").write_bytes(gzip.compress(plain.read_bytes()))
    with pytest.raises(UserError, match=r"b.tar is compressed \(gzip\).*without compression"):
        index_shards(str(tmp_path), progress=False)
    (tmp_path / "b.tar").rename(tmp_path / "b.tar.gz")
    with pytest.raises(UserError, match=r"b.tar.gz is not a plain tar file. .* end in .tar"):
        index_shards(str(tmp_path / "*"), progress=False)
    with pytest.raises(UserError, match=r"runs backwards"):
        index_shards(str(tmp_path / "{3..1}.tar"), progress=False)
    with pytest.raises(UserError, match=r"c.tar"):
        index_shards(str(tmp_path / "{a,c}.tar"), progress=False)
    with pytest.raises(UserError, match="cannot read this kind of URL"):
        index_shards("nosuch://bucket/a.tar", progress=False)


def test_a_pattern_takes_a_part_of_the_shards(video, tmp_path):
    for number in range(12):
        write_tar(tmp_path / f"s-{number:03d}.tar", {"0.mp4": video, "0.txt": b"a"})
    assert index_shards(str(tmp_path / "s-{000..004}.tar"), str(tmp_path / "few.arrow"), progress=False).shards == 5
    assert index_shards(str(tmp_path), progress=False).shards == 12
    assert len(every_clip(shards(tmp_path, index=str(tmp_path / "few.arrow")))) == 5
    assert set(every_clip(shards(tmp_path / "s-00{1,7}.tar"))) == {"s-001.tar/0.mp4", "s-007.tar/0.mp4"}
    assert len(every_clip(shards(tmp_path / "s-01*.tar"))) == 2
    with pytest.raises(UserError, match=r"index.arrow has no shard s-012.tar"):
        shards(tmp_path / "s-{010..012}.tar").prepare()


@pytest.mark.parametrize(
    "headers",
    [{"size": "-2048"}, {"size": "-1024"}, {"size": str(2**70)}, {"GNU.sparse.map": "x,y"}, {"GNU.sparse.major": "1"}],
)
def test_headers_that_mislead_end_a_shard_and_a_clip_of_images(headers, tmp_path):
    info = tarfile.TarInfo("1.png")
    info.size, info.pax_headers = 2048, headers | ({"GNU.sparse.minor": "0"} if "GNU.sparse.major" in headers else {})
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(info, io.BytesIO(b"x" * 2048))
    with pytest.raises(BadVideoError, match=r"a: its frames cannot be read from the shard"):
        images_in(Path("a"), file.getvalue())
    (tmp_path / "a.tar").write_bytes(file.getvalue())
    (row,) = scan_shard(str(tmp_path / "a.tar"), "a.tar", 0)
    assert row["bad"].startswith("the shard is damaged or truncated after its beginning")


def test_an_image_whose_last_block_is_cut_is_a_broken_clip(tmp_path):
    write_tar(tmp_path / "a.tar", {"0.png": b"x", "0.txt": b"a", "1.txt": b"b", "1.png": b"x" * 100})
    with tarfile.open(tmp_path / "a.tar") as archive:
        end = archive.getmember("1.png").offset_data + 100
    (tmp_path / "a.tar").write_bytes((tmp_path / "a.tar").read_bytes()[: end + 10])
    index_shards(str(tmp_path), progress=False)
    clips = every_clip(shards(tmp_path))
    assert set(clips) == {"a.tar/0", "a.tar/1"}
    with pytest.raises(BadVideoError, match="of 1024 bytes could be read"), open_clip(clips["a.tar/1"]):
        pass
