"""Computing a cache: interrupted runs, several processes, and settings that differ from those of the cache."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from filelock import FileLock
from safetensors import safe_open
from safetensors.torch import load_file

from vtok.cli.verbs.precompute import precompute
from vtok.common.errors import UserError
from vtok.config import check, compose
from vtok.data import CachedReader, ClipSettings, FolderData, SampleKey
from vtok.data.cache_blocks import Block, Entry
from vtok.data.footage import Footage, FootageReader, FootageSample
from vtok.data.plan import StridePlanner
from vtok.data.sources.base import SPLITS
from vtok.data.video.common import Deadline
from vtok.feature_cache import attach, blocks
from vtok.hub.toys import make_toys
from vtok.model.build import build_tokeniser
from vtok.training import precompute as precomputing

Tensors = dict[str, dict[str, torch.Tensor]]


def entries(cache: Path) -> dict[str, Entry]:
    """The entry of each clip by its name."""
    return {name: one for path in cache.glob("blocks/*.safetensors") for name, one in Block(path).entries.items()}


def contents(cache: Path) -> Tensors:
    """The tensors of each clip by its name."""
    found = {}
    for path in cache.glob("blocks/*.safetensors"):
        block = Block(path)
        found |= {name: block.tensors(entry.row) for name, entry in block.entries.items()}
    return found


def same(one: Tensors, other: Tensors) -> bool:
    flat, rest = ({(clip, key): each[clip][key] for clip in each for key in each[clip]} for each in (one, other))
    return flat.keys() == rest.keys() and all(torch.equal(flat[name], rest[name]) for name in flat)


def test_the_cache_holds_the_maps_of_the_planned_frames(folder: list[str], cache: Path) -> None:
    config = compose(folder)
    backbone = build_tokeniser(config).backbone
    source = FolderData(root=config.data.root, clip=ClipSettings(size=64, num_frames=12))
    for split in SPLITS:
        for number, clip in enumerate(source.clips(split)):
            kept = contents(cache)[f"{clip.id}\n0.0 None"]
            places = entries(cache)[f"{clip.id}\n0.0 None"].places
            frames = 4 + int(clip.id.partition(".")[0])
            sample = source.frame_reader(StridePlanner(1)).read(clip, SampleKey(0, number))
            assert len(kept["seconds"]) == entries(cache)[f"{clip.id}\n0.0 None"].frames == min(12, frames)
            torch.testing.assert_close(kept["seconds"], sample.timestamps)
            assert {0, 6} & set(range(frames)) <= {one.frame for one in places}
            for picture, place in places.items():
                assert picture.window is None
                maps = backbone(sample.frames[picture.frame, None])[0]
                torch.testing.assert_close(kept["maps"][place], maps, atol=1e-5, rtol=1e-5)
                assert kept["levels"][place] == sample.frames[picture.frame].sum()


def test_an_interrupted_precompute_continues_where_it_stopped(
    folder: list[str], cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, other = precomputing.write_block, tmp_path / "other"
    written: list[Path] = []

    def stop(path, known):
        if len(written) == 2:
            (path.parent / f".partial-{path.name}").write_bytes(b"half")
            raise KeyboardInterrupt
        write(path, known)
        written.append(path)

    monkeypatch.setattr(precomputing, "write_block", stop)
    with pytest.raises(KeyboardInterrupt):
        precompute(out=str(other), tokenisers=["vtok"], block=3, dtype="float32", overrides=folder)
    done = {path.name: path.stat().st_mtime_ns for path in other.glob("blocks/0*")}
    assert len(done) == 2
    # A truncated block, as after a power failure.
    written[0].write_bytes(written[0].read_bytes()[:100])
    monkeypatch.setattr(precomputing, "write_block", write)
    precompute(out=str(other), tokenisers=["vtok"], block=3, dtype="float32", overrides=folder)
    assert same(contents(cache), contents(other))
    assert written[1].stat().st_mtime_ns == done[written[1].name]
    assert not list(other.glob("blocks/.partial*"))


def test_files_that_time_out_are_read_again(folder: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"out": str(tmp_path / "cache"), "tokenisers": ["vtok"], "dtype": "float32", "overrides": folder}
    read = FootageReader.read

    def slow(reader: FootageReader, footage: Footage) -> FootageSample:
        if footage.clips[0].id.startswith("1."):
            raise Deadline(footage.clips[0].path, 1.0).error()
        return read(reader, footage)

    with monkeypatch.context() as patch:
        patch.setattr(FootageReader, "read", slow)
        with pytest.raises(UserError, match=r"1 files could not be read this time.*\n.*1\.mp4: .*decode_timeout=1 s"):
            precompute(**given)
    before = entries(tmp_path / "cache")
    assert not any(one.bad for one in before.values())
    report = precompute(**given)
    assert len(entries(tmp_path / "cache")) == len(before) + 1
    assert "broken" not in report


def test_blocks_locked_by_another_process_come_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [tmp_path / f"{name}.safetensors" for name in "abc"]
    held = FileLock(tmp_path / "a.lock")
    held.acquire()
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 2:
            held.release()

    monkeypatch.setattr(blocks.time, "sleep", sleep)
    assert [path.stem for path in blocks.claim_blocks(paths, tmp_path)] == ["b", "c", "a"]
    assert len(waits) == 2


CHANGES = [
    (["backbone.width=16"], "backbone.width=8, not 16"),
    (["clip.num_frames=10"], "clip.num_frames=12, not 10"),
    (["clip.fps=12"], "clip.fps=null, not 12.0"),
    (["clip.size=32"], "clip.size=64, not 32"),
    (["seed=1"], "seed=0, not 1"),
    (
        ["objective.lambda_dec=1", "decoder=tiny", "generation/judge=own"],
        "was computed without decoder.num_frames=8",
    ),
]


@pytest.mark.parametrize(("change", "expected"), CHANGES, ids=[change[0] for change, _ in CHANGES])
def test_other_settings_are_refused_by_name(change: list[str], expected: str, folder: list[str], cache: Path) -> None:
    with pytest.raises(UserError) as refused:
        attach.backbone_of_cache(compose([*folder, f"data.cache={cache}", *change]))
    message = str(refused.value)
    assert message.startswith(f"data.cache={cache} was computed with")
    assert expected in message
    assert len(message.splitlines()) == 1
    with pytest.raises(UserError, match=rf"^out={cache} was computed with.*Choose another folder\.$"):
        precompute(out=str(cache), tokenisers=["vtok"], block=3, dtype="float32", overrides=[*folder, *change])


def test_settings_of_the_tokeniser_do_not_matter(folder: list[str], cache: Path) -> None:
    free = ["tokeniser=slow_fast", "tokeniser.grid_size=3", "loader.batch_size=2", "data.limit=1"]
    assert attach.backbone_of_cache(compose([*folder, f"data.cache={cache}", *free])) is not None


def test_other_weights_are_refused_and_a_copy_of_them_is_not(folder: list[str], tmp_path: Path) -> None:
    weights, cache = tmp_path / "toys" / "clip", tmp_path / "cache"
    make_toys(tmp_path / "toys")
    settings = [item for item in folder if not item.startswith("backbone")]

    def overrides(place: Path) -> list[str]:
        return [*settings, "backbone=clip", f"backbone.weights={place}", "backbone.image_size=64"]

    def opened(place: Path, *more: str) -> object:
        return attach.backbone_of_cache(compose([*overrides(place), f"data.cache={cache}", *more]))

    precompute(out=str(cache), tokenisers=["vtok"], block=8, dtype="float32", overrides=overrides(weights))
    # Pretrained weights do not depend on the seed.
    assert opened(weights, "seed=1") is not None
    shutil.copytree(weights, tmp_path / "copy")
    os.utime(tmp_path / "copy" / "model.safetensors", (1, 1))
    assert opened(tmp_path / "copy") is not None
    changed = bytearray((tmp_path / "copy" / "model.safetensors").read_bytes())
    changed[-1] ^= 1
    (tmp_path / "copy" / "model.safetensors").write_bytes(changed)
    with pytest.raises(UserError, match=r"with other backbone\.weights: model\.safetensors of .*copy has changed"):
        opened(tmp_path / "copy")
    # A machine that has the cache but not the weights.
    shutil.rmtree(weights)
    assert opened(weights) is not None
    check(compose([*overrides(weights), f"data.cache={cache}"]))
    with pytest.raises(UserError, match=rf"with other backbone\.weights: they were {weights}"):
        opened(tmp_path / "elsewhere")


def test_a_trained_backbone_and_motion_vectors_are_not_cached(folder: list[str], tmp_path: Path) -> None:
    for change, expected in (
        (["tokeniser=vtok", "backbone.frozen=false"], "backbone.frozen=false trains the backbone"),
        (["tokeniser=codec_motion"], "vtok.tokeniser.CodecMotionTokeniser reads motion vectors from the files"),
    ):
        with pytest.raises(UserError, match=rf"^out={tmp_path / 'cache'}: {expected}"):
            precompute(out=str(tmp_path / "cache"), overrides=[*folder, *change])
    assert not (tmp_path / "cache").exists()


def test_other_users_can_read_a_cache(cache: Path) -> None:
    (file, *_) = cache.glob("blocks/*.safetensors")
    usual = (cache / "cache.json").stat().st_mode
    assert file.stat().st_mode == usual
    with safe_open(file, framework="pt") as block:
        assert json.loads(block.metadata()["clips"])


@pytest.mark.slow
def test_two_processes_complete_one_cache_although_one_is_killed(
    folder: list[str], clips: Path, tmp_path: Path
) -> None:
    with open(clips / "manifest.jsonl", "a") as manifest:
        for number in range(10, 150):
            shutil.copy(clips / f"{number % 10}.mp4", clips / f"{number}.mp4")
            manifest.write("\n" + json.dumps({"file": f"{number}.mp4", "caption": f"clip {number}", "split": "train"}))
    cache, whole = tmp_path / "cache", tmp_path / "whole"
    command = [
        sys.executable,
        "-m",
        "vtok",
        "precompute",
        f"out={cache}",
        "block=2",
        "tokenisers=[vtok]",
        "dtype=float32",
        *folder,
    ]
    settings = {**os.environ, "OMP_NUM_THREADS": "1"}
    first, second = (subprocess.Popen(command, env=settings, stdout=subprocess.PIPE, text=True) for _ in range(2))
    while not list(cache.glob("blocks/0*")):
        time.sleep(0.05)
    first.send_signal(signal.SIGKILL)
    output, _ = second.communicate(timeout=120)
    first.wait()
    assert second.returncode == 0
    assert output.startswith("150 clips in ")
    precompute(out=str(whole), tokenisers=["vtok"], block=2, dtype="float32", overrides=folder)
    assert same(contents(cache), contents(whole))
    assert len(load_file(next(cache.glob("blocks/0*")))) > 0


@pytest.mark.parametrize(
    "content", [b"", b"[" * 20_000, b"[]", b'{"blocks": 1}', b'{"settings": {}, "weights": [], "blocks": 1}']
)
def test_a_damaged_cache_file_is_refused(content, tmp_path):
    (tmp_path / "cache.json").write_bytes(content)
    with pytest.raises(UserError, match=r"data.cache=.*(is not a feature cache|is damaged)"):
        CachedReader(tmp_path, StridePlanner(1))
