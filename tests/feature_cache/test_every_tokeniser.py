"""One cache for all tokenisers: their tokens from its feature maps, and from the files."""

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig

from vtok.cli.main import main
from vtok.cli.verbs.precompute import precompute
from vtok.common.errors import UserError
from vtok.config import compose
from vtok.config.options import options_of
from vtok.data import CachedReader, ClipReader, SampleKey
from vtok.data.cache_blocks import Block
from vtok.data.plan import ChangePlanner
from vtok.evaluation.probing import Probing
from vtok.feature_cache import backbone_of_cache
from vtok.model.batch import stack_frames
from vtok.model.build import build, build_tokeniser
from vtok.tokeniser import Tokeniser, VideoTokens

# They read motion vectors, and the change of pixels.
REFUSE_A_CACHE = ("codec_motion", "adaptive")
OPTIONS = [name for name in options_of("tokeniser") if name not in REFUSE_A_CACHE]
# Of patches that are equally good in half precision another one may be taken.
SELECTING = ("evs", "kmeans", "tome", "vidcom2", "visionzip")
VARIANTS = [
    ["tokeniser=vtok", "tokeniser.key_frame=medoid", "tokeniser/motion_pooling=grid"],
    ["tokeniser=vtok", "tokeniser.key_frame=sharpest", "tokeniser/motion_pooling=attention"],
    ["tokeniser=delta", "tokeniser/motion_pooling=transformer", "tokeniser.stride=3", "tokeniser.grid_size=3"],
    ["tokeniser=key_frame", "tokeniser.key_frame=middle", "tokeniser.stride=3"],
    ["tokeniser=frame_sampling", "tokeniser.grid_size=8", "tokeniser.stride=12"],
]
CASES = [*([f"tokeniser={name}"] for name in OPTIONS), *VARIANTS]
Cache = Callable[..., list[str]]


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory, make_video: Callable[..., Path]) -> list[str]:
    """Overrides of twins of three clips, one of them short, with a small frozen backbone."""
    folder = tmp_path_factory.mktemp("clips")
    lines = []
    for number, split in enumerate(("train", "test", "validation")):
        make_video(folder / f"{number}.mp4", (30, 30, 11)[number])
        lines.append(json.dumps({"file": f"{number}.mp4", "caption": "a clip", "split": split}))
    (folder / "manifest.jsonl").write_text("\n".join(lines))
    return [
        "data=twins",
        "data.categories=[arrow,speed,zoom]",
        f"data.source.root={folder}",
        "backbone.feature_dim=16",
        "backbone.width=8",
        "backbone.frozen=true",
        "loader.num_workers=0",
        "trainer.device=cpu",
        "trainer.progress=false",
        "tracking=none",
    ]


@pytest.fixture(scope="module")
def cached(twins: list[str], tmp_path_factory: pytest.TempPathFactory) -> Cache:
    """Overrides of runs from a cache in a number format of all tokenisers, or of some, computed on first use."""
    made: dict[tuple[str, ...], list[str]] = {}

    def overrides(dtype: str, *tokenisers: str) -> list[str]:
        key = (dtype, *tokenisers)
        if key not in made:
            out = str(tmp_path_factory.mktemp("caches") / dtype)
            precompute(out=out, tokenisers=tokenisers, strides=[3], dtype=dtype, overrides=twins)  # type: ignore[arg-type]
            made[key] = [*twins, f"data.cache={out}"]
        return made[key]

    return overrides


def parts(overrides: list[str]) -> tuple[DictConfig, Tokeniser, ClipReader]:
    """The configuration, the tokeniser, and the reader of its clips: from the cache if there is one."""
    config = compose(overrides)
    tokeniser = build_tokeniser(config, backbone_of_cache(config)).eval()
    return config, tokeniser, build(config.data).reader(tokeniser.planner)


@torch.no_grad()
def tokens_of(overrides: list[str]) -> VideoTokens:
    """The tokens of all twins, as one batch."""
    config, tokeniser, reader = parts(overrides)
    clips = [clip for split in ("train", "test", "validation") for clip in build(config.data).clips(split)]
    return tokeniser.encode_planned(stack_frames([reader.read(clip, SampleKey(0, 0)) for clip in clips]))


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("case", CASES, ids=" ".join)
def test_tokens_are_those_of_the_files(case: list[str], dtype: str, twins: list[str], cached: Cache) -> None:
    if dtype == "float16" and case[0].partition("=")[2] in SELECTING:
        pytest.skip("a selection may differ")
    truth, found = tokens_of([*twins, *case]), tokens_of([*cached(dtype), *case])
    tolerance = {"atol": 1e-5, "rtol": 1e-5} if dtype == "float32" else {"atol": 5e-3, "rtol": 5e-3}
    torch.testing.assert_close(found.tokens[found.mask], truth.tokens[truth.mask], **tolerance)
    for name in ("mask", "timestamps", "places", "weights"):
        torch.testing.assert_close(getattr(found, name), getattr(truth, name), equal_nan=True, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_budgets_that_elastic_draws_in_training_have_the_tokens_of_the_files(twins: list[str], cached: Cache) -> None:
    for budget in (5, 12, 32):
        several = []
        for given in (twins, cached("float32")):
            config = compose([*given, "tokeniser=elastic", f"tokeniser.train_tokens=[{budget}]"])
            tokeniser = build_tokeniser(config, backbone_of_cache(config)).eval()
            source, planner = build(config.data), tokeniser.planner
            reader = source.reader(planner.for_training())
            drawn = planner.drawn(0)
            samples = [reader.read(clip, SampleKey(0, 0)) for clip in source.clips("train")]
            planned = stack_frames([one.at(drawn.kept(one.num_planned)) for one in samples])
            several.append(tokeniser.encode_planned(replace(planned, key_tokens=drawn.key_tokens)))
        truth, found = several
        assert truth.tokens.shape[1] == budget
        torch.testing.assert_close(found.tokens, truth.tokens, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(found.timestamps, truth.timestamps)


@pytest.mark.parametrize("case", [["tokeniser=uniform"], ["tokeniser=visionzip"], ["tokeniser=vtok"]], ids=" ".join)
def test_a_cache_of_full_maps_serves_runs_with_smaller_ones(case: list[str], twins: list[str], cached: Cache) -> None:
    smaller = [*case, "backbone.map_size=5"]
    truth, found = tokens_of([*twins, *smaller]), tokens_of([*cached("float32"), *smaller])
    if case != ["tokeniser=visionzip"]:
        assert truth.weights[0].sum() == 5 * 25
    torch.testing.assert_close(found.tokens[found.mask], truth.tokens[truth.mask], atol=1e-5, rtol=1e-5)


def test_no_picture_is_cached_twice(cached: Cache) -> None:
    folder = Path(cached("float16")[-1].partition("=")[2])
    entries = [entry for path in folder.glob("blocks/*") for entry in Block(path).entries.values()]
    # One for each file, whatever its ten versions.
    assert len(entries) == 3
    for entry in entries:
        places = entry.places
        assert sorted(places.values()) == list(range(len(places)))
        planned = {*range(0, entry.frames, 3), *range(0, entry.frames, 4)}
        assert planned <= {one.frame for one in places if one.window is None}
        # Zooming in, and out: the window of each planned frame differs, but for the middle of an odd number.
        assert 2 * len(planned) - 1 <= sum(one.window is not None for one in places)


# Without its backbone the second has no parameters.
@pytest.mark.parametrize("name", ["vtok", "frame_sampling"])
def test_a_probe_from_a_cache_finds_what_it_finds_in_the_files(
    name: str, twins: list[str], cached: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    metrics = []
    for overrides in (twins, cached("float32")):
        config, tokeniser, _ = parts([*overrides, f"tokeniser={name}"])
        probing = Probing(
            steps=3, train_clips=10, test_clips=10, tuned=True, measures=["answers", "reconstruction", "order"]
        )
        source, loader = build(config.data), build(config.loader)
        train, test = (probing.read(tokeniser, source, loader, split) for split in ("train", "test"))
        found = probing(tokeniser, train, test, seed=0).metrics()
        metrics.append({name: value for name, value in found.items() if name != "seconds"})
        # From now on no file can be decoded.
        monkeypatch.setattr("vtok.data.clip_reader.open_clip", partial(pytest.fail, "a file was opened"))
    assert metrics[1] == pytest.approx(metrics[0], abs=1e-3)


def test_a_cache_of_twins_has_the_frames_of_the_clips_that_they_show(twins: list[str], cached: Cache) -> None:
    of_twins = cached("float32", "vtok")
    renamed = [one.replace("data.source.", "data.") for one in of_twins if not one.startswith("data.categories")]
    clips = ["data=folder" if one == "data=twins" else one for one in renamed]
    config, tokeniser, reader = parts(clips)
    assert isinstance(reader, CachedReader)
    [clip] = build(config.data).clips("train")
    reader.check([clip], files=True)
    tokens = tokeniser.encode_planned(stack_frames([reader.read(clip, SampleKey(0, 0))])).tokens
    _, decoding, files = parts([one for one in clips if not one.startswith("data.cache")])
    torch.testing.assert_close(
        tokens, decoding.encode_planned(stack_frames([files.read(clip, SampleKey(0, 0))])).tokens
    )
    with pytest.raises(UserError, match=r"was computed with data\.frames_fps=24\.0, not 12\.0"):
        parts([*clips, "data.frames_fps=12"])


def test_pixels_are_the_same_with_every_seed(twins: list[str], tmp_path: Path) -> None:
    given = [one for one in twins if not one.startswith(("backbone.feature_dim", "backbone.width"))]
    pixels = [*given, "backbone=pixels", f"outputs={tmp_path}"]
    precompute(out=str(tmp_path / "cache"), tokenisers=["vtok"], dtype="float32", overrides=pixels)
    probing = ["probe", "tokenisers=[vtok]", *pixels, "steps=2", "seeds=2", "measures=[answers]"]
    assert main([*probing, f"data.cache={tmp_path / 'cache'}"]) == 0


def test_a_cache_of_random_features_is_refused_for_several_seeds(
    twins: list[str], cached: Cache, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["probe", "tokenisers=[vtok]", *cached("float32", "vtok"), "seeds=3"]) == 1
    assert "was computed with seed=0, not 2" in capsys.readouterr().err


REFUSED = [
    (
        ["tokeniser.stride=5"],
        r"frame \d+ of .* is not in the cache, which was made for other plans.*vtok precompute out=",
    ),
    (["tokeniser.key_frame=7"], "frame 7 of .* is not in the cache"),
    (["data.window=0.5"], r"frame \d+ in the window that this clip shows of .* is not in the cache"),
]


@pytest.mark.parametrize(("change", "message"), REFUSED, ids=[change[0] for change, _ in REFUSED])
def test_what_is_not_in_the_cache_is_refused(change: list[str], message: str, cached: Cache) -> None:
    config, _, reader = parts([*cached("float16", "vtok"), "tokeniser=vtok", *change])
    assert isinstance(reader, CachedReader)
    with pytest.raises(UserError, match=rf"^data\.cache=.*{message}"):
        reader.check(build(config.data).clips("train"), files=True)


@pytest.mark.parametrize("name", REFUSE_A_CACHE)
def test_a_tokeniser_that_reads_more_than_feature_maps_is_refused(
    name: str, twins: list[str], cached: Cache, tmp_path: Path
) -> None:
    given = [one for one in twins if not one.startswith(("data=twins", "data.categories", "data.source.root"))]
    with pytest.raises(UserError, match=r"^out=.*cache: .* a cache holds feature maps\. Use another tokeniser"):
        precompute(out=str(tmp_path / "cache"), tokenisers=[name], overrides=given)
    assert not (tmp_path / "cache").exists()


def test_a_reader_refuses_a_plan_by_the_change_of_pixels(cached: Cache) -> None:
    config = compose([*cached("float16"), "tokeniser=vtok"])
    reader = CachedReader(config.data.cache, ChangePlanner(4))
    with pytest.raises(UserError, match=r"^data\.cache=.* keeps frames by the change of their pixels.*=null"):
        reader.check(build(config.data).clips("train"), files=True)


def test_another_stride_and_attention_are_added_by_the_same_command(twins: list[str], tmp_path: Path) -> None:
    out, given = tmp_path / "cache", [*twins, "tokeniser=vtok"]
    more = partial(precompute, out=str(out), overrides=given, attention=False, probe=False, dtype="float32")
    more()
    before = {name: one for path in out.glob("blocks/*") for name, one in Block(path).entries.items()}
    assert "20 pictures to encode" not in more(estimate=True)
    assert more(estimate=True).startswith("0 pictures to encode, 0 bytes.")
    more(strides=[5])
    after = {name: one for path in out.glob("blocks/*") for name, one in Block(path).entries.items()}
    for name, entry in before.items():
        assert list(after[name].places)[: len(entry.places)] == list(entry.places)
    changed = [f"data.cache={out}", "tokeniser.stride=5"]
    truth, found = tokens_of([*given, "tokeniser.stride=5"]), tokens_of([*given, *changed])
    torch.testing.assert_close(found.tokens[found.mask], truth.tokens[truth.mask], atol=1e-5, rtol=1e-5)
    with pytest.raises(UserError, match=r"reads the backbone's attention, which this cache does not hold\. .*=true"):
        parts([*twins, "tokeniser=visionzip", f"data.cache={out}"])
    with pytest.raises(UserError, match=r"has a cache with attention=false, not true\. Set attention=false"):
        more(attention=True)


@pytest.mark.parametrize("attention", [True, False])
def test_the_size_is_known_before(attention: bool, twins: list[str], tmp_path: Path) -> None:
    out, given = tmp_path / "cache", [*twins, "tokeniser=vtok", "backbone.map_size=4"]
    said = precompute(out=str(out), overrides=given, attention=attention, estimate=True)
    assert not out.exists()
    precompute(out=str(out), overrides=given, attention=attention)
    blocks = [Block(path) for path in out.glob("blocks/*")]
    tensors = [one for block in blocks for entry in block.entries.values() for one in block.tensors(entry.row).values()]
    assert f" {sum(one.nbytes for one in tensors):,} bytes" in said
    assert {tuple(one.shape[1:]) for one in tensors if one.dim() == 4} == {(16, 4, 4)}
    with pytest.raises(UserError, match=r"was computed with backbone\.map_size=4, not null"):
        parts([*twins, "tokeniser=vtok", f"data.cache={out}"])


def test_a_trained_backbone_and_a_cache_cannot_be_cached(twins: list[str], tmp_path: Path) -> None:
    for change, message in (
        (["tokeniser=vtok", "backbone.frozen=false"], "backbone.frozen=false trains the backbone"),
        (["tokeniser=vtok", "data.cache=x"], "a cache is computed from files"),
    ):
        with pytest.raises(UserError, match=message):
            precompute(out=str(tmp_path / "cache"), overrides=[*twins, *change])
    assert not (tmp_path / "cache").exists()
