"""Several data sets as one: the order, the clips, and how each is read."""

import json
import pickle
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from vtok.cli.main import main
from vtok.common.errors import UserError
from vtok.data import (
    Augmentation,
    BadVideoError,
    Clip,
    ClipDataset,
    ClipSample,
    ClipSettings,
    FolderData,
    MixtureData,
    SampleKey,
    ShardData,
)
from vtok.data.plan import StridePlanner
from vtok.data.sampler import WindowSampler
from vtok.data.sources.base import SPLITS, DataSource, Split
from vtok.data.sources.mixture.clips import MixtureClips, interleave
from vtok.data.sources.mixture.sampler import BLOCK
from vtok.data.sources.mixture.shares import samples_per_source
from vtok.data.sources.shapes import ShapesData

SETTINGS = {"clip": ClipSettings(size=32)}


class Numbered(DataSource):
    """Clips without files; with a window, their order is that of shards of three."""

    def __init__(self, train: int, held_out: int = 2, window: int | None = None, **settings) -> None:
        super().__init__(**{**SETTINGS, **settings})
        self.counts = {"train": train, "validation": held_out, "test": held_out}
        self.window = window

    def prepare(self) -> None:
        self.bad = {f"bad of {self.counts['train']}": "it is bad"}

    def all_clips(self, split: Split) -> list[Clip]:
        return [Clip(f"{split}{number}", Path(f"{split}{number}")) for number in range(self.counts[split])]

    def sampler(self, **order):
        if self.window is None:
            return super().sampler(**order)
        return WindowSampler(np.arange(self.counts["train"]) // 3, window=self.window, **order)


def mixture(weights: dict[str, float] | None, **settings) -> MixtureData:
    sources = {"big": Numbered(40), "small": Numbered(7, 5), "shards": Numbered(20, 0, window=4)}
    return MixtureData(sources=sources, weights=weights, **{**SETTINGS, **settings})


WEIGHTS = {"big": 5, "small": 0.5, "shards": 3}
FIRSTS = {"big": 0, "small": 40, "shards": 47}


def take(source: DataSource, count: int, **order) -> list[tuple[int, int]]:
    return [(key.epoch, key.index) for key in islice(source.sampler(seed=3, **order), count)]


def source_of(index: int) -> str:
    return "big" if index < 40 else "small" if index < 47 else "shards"


@pytest.mark.parametrize(
    "weights", [WEIGHTS, {"big": 1, "small": 1, "shards": 1}, {"big": 1e-3, "small": 9, "shards": 1}]
)
def test_within_a_source_the_order_is_its_own(weights: dict[str, float]) -> None:
    made = mixture(weights)
    keys = take(made, 5 * BLOCK)
    for name, source in made.sources.items():
        own = [(epoch, index - FIRSTS[name]) for epoch, index in keys if source_of(index) == name]
        assert own == take(source, len(own)), name


def test_in_every_block_each_source_has_its_share_in_a_mixed_order() -> None:
    names = [source_of(index) for _, index in take(mixture(WEIGHTS), 20 * BLOCK)]
    shares = [Fraction(str(weight)) for weight in WEIGHTS.values()]
    for end in range(BLOCK, 20 * BLOCK + 1, BLOCK):
        found, block = Counter(names[:end]), names[end - BLOCK : end]
        assert [found[name] for name in WEIGHTS] == samples_per_source(shares, end)
        for name, share in zip(WEIGHTS, shares, strict=True):
            assert abs(block.count(name) - BLOCK * share / sum(shares)) < 2
    assert names[:BLOCK] != names[BLOCK : 2 * BLOCK]


def test_two_ranks_do_not_see_one_source_each() -> None:
    sources = {"one": Numbered(500), "two": Numbered(500)}
    made = MixtureData(sources=sources, weights={"one": 1, "two": 1}, **SETTINGS)
    for rank in range(2):
        share = np.mean([index < 500 for _, index in take(made, 1000, rank=rank, world_size=2)])
        assert 0.45 < share < 0.55


@pytest.mark.parametrize("world_size", [1, 3])
def test_a_run_goes_on_at_any_sample(world_size: int) -> None:
    made = mixture(WEIGHTS)
    for rank in range(world_size):
        whole = take(made, BLOCK + 60, rank=rank, world_size=world_size)
        for start in range(0, BLOCK + 40, 1 if world_size == 1 else 7):
            assert take(made, 20, start=start, rank=rank, world_size=world_size) == whole[start : start + 20]


def test_ranks_together_see_what_one_sees() -> None:
    made = mixture(WEIGHTS)
    shares = [take(made, 200, rank=rank, world_size=4) for rank in range(4)]
    assert [key for together in zip(*shares, strict=True) for key in together] == take(made, 800)


def test_the_order_is_of_the_seed() -> None:
    made = mixture(WEIGHTS)
    others = [(key.epoch, key.index) for key in islice(made.sampler(seed=4), 50)]
    assert take(made, 50) == take(mixture(WEIGHTS), 50) != others


def test_without_weights_an_epoch_of_one_is_an_epoch_of_all() -> None:
    made = mixture(None)
    counts = Counter(source_of(index) for _, index in take(made, 67 * BLOCK))
    assert counts == {"big": 40 * BLOCK, "small": 7 * BLOCK, "shards": 20 * BLOCK}
    shares = "59.7% big (40 clips), 10.4% small (7 clips), 29.9% shards (20 clips)"
    assert made.describe() == f"MixtureData weighted by numbers of clips (data.weights=null): {shares}"


def test_clips_are_those_of_all_sources() -> None:
    made = mixture(WEIGHTS)
    train, test = made.clips("train"), made.clips("test")
    assert [train[place].id for place in (0, 39, 40, 47, 66)] == [
        "big/train0", "big/train39", "small/train0", "shards/train0", "shards/train19",
    ]  # fmt: skip
    assert (train[40].source, train[40].path) == ("small", Path("train0"))
    assert len({clip.id for clip in train}) == len(train) == 67
    # One of each in turn, so that a few of them are of all.
    assert [clip.id.replace("test", "") for clip in test] == [
        "big/0", "small/0", "big/1", "small/1", "small/2", "small/3", "small/4",
    ]  # fmt: skip
    assert [clip.id for clip in test[1:6:2]] == [test[place].id for place in (1, 3, 5)]
    assert made.bad == {"bad of 40": "it is bad", "bad of 7": "it is bad", "bad of 20": "it is bad"}
    assert len(pickle.loads(pickle.dumps(train))) == 67


def test_groups_of_two_sources_are_two_groups() -> None:
    clips = {name: [Clip("a", Path("a"), group="kitchen"), Clip("b", Path("b"))] for name in ("own", "web")}
    assert [clip.group for clip in MixtureClips(clips)] == ["own/kitchen", None, "web/kitchen", None]


def test_a_limit_is_of_each_split_of_each_source() -> None:
    sources = {"big": Numbered(40, limit=6), "small": Numbered(7, 5, limit=3)}
    made = MixtureData(sources=sources, limit=6, **SETTINGS)
    assert [len(made.clips(split)) for split in SPLITS] == [9, 5, 5]
    assert {index for _, index in take(made, 90)} == set(range(9))
    assert len(made.all_clips("train")) == 47


class Counted(Sequence[Clip]):
    """Five million clips that are not there until one is asked for."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def __len__(self) -> int:
        return 5_000_000

    def __getitem__(self, number):
        self.asked.append(number)
        return Clip(str(number), Path("a"))


def test_millions_of_clips_are_not_listed() -> None:
    many = Counted()
    clips = MixtureClips({"few": [Clip("0", Path("b"))], "many": many})
    assert len(clips[10:][::2]) == 2_499_996
    assert (clips[4_000_000].id, clips[10:][::2][1].id) == ("many/3999999", "many/11")
    assert interleave({"few": [Clip("0", Path("b"))], "many": many})[:4][3].id == "many/2"
    assert many.asked == [3_999_999, 11, 2]


class Reader:
    """Reads every clip but those whose names end in 1."""

    def read(self, clip: Clip, key: SampleKey) -> ClipSample:
        if clip.id.endswith("1"):
            raise BadVideoError(clip.path, "it ends in 1")
        return ClipSample(torch.zeros(1, 3, 2, 2), torch.zeros(1), 0, clip, key.epoch)


def read_all(made: MixtureData, count: int, *, num_workers: int) -> list[str]:
    dataset = ClipDataset(made.clips("train"), Reader(), seed=0, replace_bad=True)
    order = list(islice(made.sampler(seed=3), count))
    loader = DataLoader(dataset, batch_size=4, sampler=order, num_workers=num_workers, collate_fn=list)
    return [sample.clip.id for batch in loader for sample in batch]


def test_a_broken_clip_is_replaced_within_its_source_whatever_the_number_of_workers() -> None:
    made = mixture(WEIGHTS)
    read = read_all(made, 200, num_workers=0)
    wanted = [made.clips("train")[index].id for _, index in take(made, 200)]
    assert [name.partition("/")[0] for name in read] == [name.partition("/")[0] for name in wanted]
    assert all(there == name for there, name in zip(read, wanted, strict=True) if not name.endswith("1"))
    assert any(name.endswith("1") for name in wanted)
    assert not any(name.endswith("1") for name in read)
    assert read_all(made, 200, num_workers=2) == read


def test_a_source_without_a_good_clip_stops_with_its_clips() -> None:
    made = MixtureData(sources={"ok": Numbered(9), "bad": Numbered(1)}, **SETTINGS)
    dataset = ClipDataset(made.clips("train"), FailingReader(), seed=0, replace_bad=True)
    with pytest.raises(UserError, match=r"All 1 clips are broken.*\n +train0 \(bad/train0\): it is bad"):
        dataset[SampleKey(0, 9)]


class FailingReader:
    def read(self, clip: Clip, key: SampleKey) -> ClipSample:
        raise BadVideoError(clip.path, "it is bad")


def write_frames(folder: Path, count: int) -> None:
    (folder / "frames").mkdir(parents=True)
    for frame in range(count):
        Image.new("RGB", (32, 32), (6 * frame, 0, 0)).save(folder / "frames" / f"{frame:02}.png")
    (folder / "caption.txt").write_text(f"clip {folder.name}")


def test_each_clip_is_read_as_its_source_reads_it(tmp_path: Path) -> None:
    for name in ("slow", "fast"):
        for number in range(3):
            write_frames(tmp_path / name / str(number), 40)
    settings = {"clip": ClipSettings(size=32, num_frames=12)}
    sources = {
        name: FolderData(root=tmp_path / name, frames_fps=rate, **settings)
        for name, rate in (("slow", 6.0), ("fast", 24.0))
    }
    made = MixtureData(sources=sources, **settings)
    reader = made.reader(StridePlanner(3))
    for clip in made.clips("train"):
        source = made.source_of(clip)
        own = next(one for one in source.clips("train") if f"{clip.source}/{one.id}" == clip.id)
        alone = source.reader(StridePlanner(3)).read(own, SampleKey(0, 0))
        here = reader.read(clip, SampleKey(0, 0))
        assert torch.equal(here.frames, alone.frames)
        assert here.timestamps[1] == pytest.approx(3 / (6 if clip.source == "slow" else 24))
    assert (made.rate, made.frames_fps) == (6.0, 6.0)
    # One that is of no source, as in vtok describe.
    video = Clip("a", tmp_path / "fast" / "0" / "frames")
    assert reader.read(video, SampleKey(0, 0)).timestamps[1] == pytest.approx(0.5)


def test_each_source_is_augmented_as_it_says(make_video, tmp_path: Path) -> None:
    make_video(tmp_path / "a.mp4", 12)
    (tmp_path / "a.txt").write_text("it moves to the left")
    sources = {
        name: FolderData(root=tmp_path, augmentation=Augmentation(**settings), **SETTINGS)
        for name, settings in (("plain", {}), ("bright", {"brightness": 1.0}), ("flipped", {"horizontal_flip": 1.0}))
    }
    made = MixtureData(sources=sources, **SETTINGS)
    reader, still = (made.reader(StridePlanner(6), seed=seed) for seed in (0, None))
    plain, bright = (
        still.read(made.clips("train")[0], SampleKey(0, 0)),
        reader.read(made.clips("train")[1], SampleKey(0, 1)),
    )
    assert torch.equal(reader.read(made.clips("train")[0], SampleKey(0, 0)).frames, plain.frames)
    assert not torch.equal(bright.frames, plain.frames)
    assert torch.equal(still.read(made.clips("train")[1], SampleKey(0, 1)).frames, plain.frames)
    with pytest.raises(UserError, match=r"the text of .*a\.mp4 says 'left', which a flip would make wrong"):
        made.check_augmentation(10)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"sources": {}}, "a mixture needs one source or more"),
        (
            {"sources": {"a": Numbered(3, clip=ClipSettings(size=48))}},
            r"data.sources.a.clip=.* differs from the mixture's",
        ),
        (
            {"sources": {"a": Numbered(3)}, "limit": 2},
            "data.sources.a.limit=None exceeds the mixture's limit. Use 2 or less",
        ),
        ({"sources": {"a": Numbered(3, cache="x")}}, "data.sources.a.cache=x: only the mixture has a cache"),
        ({"sources": {"a": mixture(None)}}, "data.sources.a: MixtureData cannot be a source. Use a data set"),
        ({"sources": {"a": 3}}, "data.sources.a: int cannot be a source"),
        ({"sources": {"a": Numbered(3)}, "weights": {"a": 0}}, "data.weights.a=0: a weight is a number above 0"),
    ],
)
def test_invalid_mixtures_are_refused(settings: dict, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        MixtureData(**{**SETTINGS, **settings})


def test_a_source_without_training_clips_is_refused() -> None:
    with pytest.raises(UserError, match=r"data.sources.b has no training clips. Remove it: ~data.sources.b"):
        MixtureData(sources={"a": Numbered(3), "b": Numbered(0)}, **SETTINGS).prepare()


def test_the_commands_on_data_take_a_mixture(tmp_path: Path) -> None:
    for number in range(3):
        write_frames(tmp_path / "own" / str(number), 12)
    made = {"train_clips": 2, "validation_clips": 1, "test_clips": 1, "pixels": 32, "make_workers": 1}
    ShapesData(root=str(tmp_path / "made"), clip=ClipSettings(size=32, num_frames=12), **made).prepare()
    settings = [
        "data=mixture", "clip.num_frames=12", "clip.size=32", "backbone.image_size=32", "tokeniser.grid_size=2",
        "+data@data.sources.own=folder", f"data.sources.own.root={tmp_path / 'own'}", "data.sources.own.frames_fps=10",
        "+data@data.sources.made=shapes", f"data.sources.made.root={tmp_path / 'made'}", "data.sources.made.pixels=32",
        "data.sources.made.train_clips=2", "data.sources.made.validation_clips=1", "data.sources.made.test_clips=1",
    ]  # fmt: skip
    assert main(["data", "check", *settings, "processes=1", f"out={tmp_path / 'report.json'}"]) == 0
    report = json.loads((tmp_path / "report.json").read_text())
    seconds = {file["id"]: file["seconds"] for file in report["files"]}
    assert seconds == {
        **{f"own/{number}/frames": pytest.approx(11 / 10) for number in range(3)},
        **{
            f"made/{name}": pytest.approx(11 / 15, abs=1e-3)
            for name in ("train-000000", "train-000001", "validation-000000", "test-000000")
        },
    }
    assert main(["data", "preview", *settings, "clips=3", f"out={tmp_path / 'sheet.png'}"]) == 0
    assert main(["data", "pack", *settings, f"out={tmp_path / 'packed'}"]) == 0
    packed = ShardData(root=str(tmp_path / "packed"), test_fraction=0.5, **SETTINGS)
    for split, number in report["splits"].items():
        names = [clip.id for clip in packed.clips(split)]
        assert len(names) == number
        assert all(name in seconds for name in names)


def test_it_is_augmented_if_a_source_is() -> None:
    plain, cropped = Numbered(4), Numbered(4, augmentation=Augmentation(min_area=0.5))
    assert not MixtureData(sources={"a": plain, "b": plain}, **SETTINGS).is_augmented
    assert MixtureData(sources={"a": plain, "b": cropped}, **SETTINGS).is_augmented
    assert cropped.is_augmented
