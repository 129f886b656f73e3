"""What all tokenisers have in common: how many tokens, where and when they stand, and that padding changes nothing."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest
import torch

from vtok.backbone import TinyBackbone
from vtok.config import compose
from vtok.config.compose import options_of
from vtok.model.build import build_tokeniser
from vtok.tokeniser import (
    MOTION,
    SPATIAL,
    AdaptiveTokeniser,
    CodecMotionTokeniser,
    DeltaTokeniser,
    ElasticTokeniser,
    EvsTokeniser,
    FrameSamplingTokeniser,
    FrequencyTokeniser,
    GroupedTtmTokeniser,
    KeyFrameTokeniser,
    KMeansTokeniser,
    LlamaVidTokeniser,
    PlannedFrames,
    RandomTokeniser,
    ResamplerTokeniser,
    SlowFastTokeniser,
    Tokeniser,
    TokenLearnerTokeniser,
    ToMeTokeniser,
    UniformTokeniser,
    VidCom2Tokeniser,
    VideoTokens,
    VisionZipTokeniser,
    VTokTokeniser,
)

Make = Callable[..., Tokeniser]
UNTRAINED: dict[str, Make] = {
    "random": RandomTokeniser,
    "uniform": UniformTokeniser,
    "evs": EvsTokeniser,
    "vidcom2": VidCom2Tokeniser,
    "tome": ToMeTokeniser,
    "visionzip": VisionZipTokeniser,
    "kmeans": KMeansTokeniser,
}
# Their tokens represent all frames of the clip.
OF_THE_CLIP: dict[str, Make] = {
    "resampler": ResamplerTokeniser,
    "token_learner": TokenLearnerTokeniser,
    "grouped_ttm": GroupedTtmTokeniser,
}
ALL: dict[str, Make] = {
    "vtok": VTokTokeniser,
    "vtok, middle": partial(VTokTokeniser, key_frame="middle"),
    "adaptive": AdaptiveTokeniser,
    "delta": DeltaTokeniser,
    "elastic": ElasticTokeniser,
    "codec_motion": CodecMotionTokeniser,
    "frame_sampling": FrameSamplingTokeniser,
    "frequency": FrequencyTokeniser,
    "key_frame": KeyFrameTokeniser,
    "llama_vid": LlamaVidTokeniser,
    "slow_fast": SlowFastTokeniser,
    "slow_fast, once": partial(SlowFastTokeniser, repeat_slow=False),
    **OF_THE_CLIP,
    **UNTRAINED,
}
SIDE = 8


def test_every_option_is_tested_here() -> None:
    assert {name.partition(",")[0] for name in ALL} == set(options_of("tokeniser"))


def made(name: str, **settings: int) -> Tokeniser:
    torch.manual_seed(0)
    return ALL[name](TinyBackbone(feature_dim=16, width=8, frozen=True), token_dim=12, **settings).eval()


def clips(tokeniser: Tokeniser, lengths: list[int]) -> PlannedFrames:
    """Noise for clips of some lengths; the frames after a shorter clip are noise too."""
    plans = [tokeniser.plan(length) for length in lengths]
    counts, most = torch.tensor([len(plan.indices) for plan in plans]), max(len(plan.indices) for plan in plans)
    grid = plans[0].vector_grid
    noise = torch.Generator().manual_seed(1)
    times = [plan.indices + (0,) * (most - len(plan.indices)) for plan in plans]
    return PlannedFrames(
        frames=torch.randint(256, (len(lengths), most, 3, 64, 64), generator=noise, dtype=torch.uint8),
        key=torch.tensor([-1 if plan.key is None else plan.key for plan in plans]),
        mask=torch.arange(most) < counts.unsqueeze(1),
        timestamps=torch.tensor(times) / 24,
        vectors=None if grid is None else torch.randn(len(lengths), most, 3, grid, grid, generator=noise),
    )


def alone(planned: PlannedFrames, row: int) -> PlannedFrames:
    count = int(planned.mask[row].sum())
    return PlannedFrames(
        frames=planned.pixels[row : row + 1, :count],
        key=planned.key[row : row + 1],
        mask=planned.mask[row : row + 1, :count],
        timestamps=planned.timestamps[row : row + 1, :count],
        vectors=None if planned.vectors is None else planned.vectors[row : row + 1, :count],
    )


def assert_same(found: VideoTokens, row: int, expected: VideoTokens) -> None:
    count = expected.tokens.shape[1]
    assert found.mask[row].tolist() == [True] * count + [False] * (found.mask.shape[1] - count)
    torch.testing.assert_close(found.tokens[row, :count], expected.tokens[0], rtol=1e-4, atol=1e-5)
    for name in ("timestamps", "places", "weights"):
        one, other = getattr(found, name)[row, :count], getattr(expected, name)[0]
        torch.testing.assert_close(one, other, equal_nan=True, msg=name)


@pytest.mark.parametrize("name", ALL)
@torch.no_grad()
def test_a_clip_of_a_batch_has_the_tokens_that_it_has_alone(name: str) -> None:
    tokeniser = made(name)
    planned = clips(tokeniser, [30, 13, 1, 25])
    batch = tokeniser.encode_planned(planned)
    for row in range(4):
        single = tokeniser.encode_planned(alone(planned, row))
        assert single.mask.all()
        assert_same(batch, row, single)
        assert len(tokeniser.kinds(int(planned.mask[row].sum()))) == single.tokens.shape[1]


@pytest.mark.parametrize("name", ALL)
@torch.no_grad()
def test_tokens_stand_where_they_are_in_the_frame(name: str) -> None:
    tokeniser = made(name)
    planned = clips(tokeniser, [30])
    tokens = tokeniser.encode_planned(planned)
    number = tokens.tokens.shape[1]
    assert tokens.places.shape == (1, number, 2)
    assert tokens.weights.shape == tokens.mask.shape == tokens.timestamps.shape == (1, number)
    assert tokens.kind.tolist() == tokeniser.kinds(planned.mask.shape[1]).tolist()
    frames = planned.mask.shape[1]
    entire = tokens.places.isnan().all(2)
    assert torch.equal(entire, tokens.places.isnan().any(2))
    whole = SIDE**2 * (frames if name in OF_THE_CLIP else frames - 1 if name == "frequency" else 1)
    assert (tokens.weights[entire] == whole).all()
    # The context token of each frame, before its content token.
    context = torch.arange(number) % 2 == 0 if name == "llama_vid" else torch.zeros(number, dtype=torch.bool)
    assert torch.equal(entire[0], (tokens.kind == MOTION) | context | (name in OF_THE_CLIP))
    placed = tokens.places[~entire]
    assert ((placed > 0) & (placed < 1)).all()
    assert (tokens.weights >= 1).all()
    times = planned.timestamps[0]
    assert ((tokens.timestamps >= times[0]) & (tokens.timestamps <= times[-1])).all()


@pytest.mark.parametrize(
    ("name", "cells"), [("vtok", 4), ("frequency", 4), ("frame_sampling", 2), ("key_frame", 4), ("slow_fast", 2)]
)
@torch.no_grad()
def test_cells_of_a_grid_have_their_centres(name: str, cells: int) -> None:
    tokeniser = made(name)
    tokens = tokeniser.encode_planned(clips(tokeniser, [30]))
    centres = [[(row + 0.5) / cells, (column + 0.5) / cells] for row in range(cells) for column in range(cells)]
    assert tokens.places[0, : cells**2].tolist() == centres
    assert tokens.weights[0, : cells**2].tolist() == [SIDE**2 / cells**2] * cells**2
    if name == "slow_fast":
        # 3 slow frames of 2 x 2, then 8 fast frames of one cell.
        assert tokens.places[0, 12:].tolist() == [[0.5, 0.5]] * 8
        assert tokens.weights[0, 12:].tolist() == [SIDE**2] * 8


@pytest.mark.parametrize(("frames", "budget"), [(30, 20), (30, 46), (121, 20), (121, 46)])
@pytest.mark.parametrize("name", [*UNTRAINED, *OF_THE_CLIP])
@torch.no_grad()
def test_a_budget_is_met_exactly_by_what_is_encoded(name: str, frames: int, budget: int) -> None:
    config = compose([f"tokeniser={name}", f"tokeniser.budget={budget}", f"clip.num_frames={frames}"])
    tokeniser = build_tokeniser(config)
    planned = clips(tokeniser, [frames])
    tokens = tokeniser.encode_planned(planned)
    assert tokens.tokens.shape[1] == budget == tokeniser.planner.num_tokens(planned.mask.shape[1])
    assert tokens.mask.all()
    assert tokens.kind.tolist() == [SPATIAL] * budget


@pytest.mark.parametrize("name", UNTRAINED)
@torch.no_grad()
def test_a_clip_of_few_patches_keeps_all_of_them(name: str) -> None:
    tokeniser = made(name, grid_size=4, num_tokens=50)
    planned = clips(tokeniser, [30, 13])
    tokens = tokeniser.encode_planned(planned)
    assert tokens.mask.sum(1).tolist() == [50, 48]
    assert tokens.weights[1, :48].tolist() == [4] * 48
    assert_same(tokens, 1, tokeniser.encode_planned(alone(planned, 1)))


@pytest.mark.parametrize("name", UNTRAINED)
@torch.no_grad()
def test_tokens_follow_each_other_in_time_then_in_space(name: str) -> None:
    tokeniser = made(name)
    tokens = tokeniser.encode_planned(clips(tokeniser, [30]))
    order = [
        (time, *place) for time, place in zip(tokens.timestamps[0].tolist(), tokens.places[0].tolist(), strict=True)
    ]
    assert order == sorted(order)


@pytest.mark.parametrize("name", UNTRAINED)
@torch.no_grad()
def test_the_token_map_has_the_patches_of_each_token(name: str) -> None:
    tokeniser = made(name)
    planned = clips(tokeniser, [30, 13])
    tokens, numbers = tokeniser.encode_planned(planned), tokeniser.token_map(planned)
    assert numbers is not None
    side = numbers.shape[-1]
    for row in range(2):
        for token in range(tokens.tokens.shape[1]):
            where = (numbers[row] == token + 1).nonzero().double()
            torch.testing.assert_close(float(tokens.weights[row, token]), len(where) * (SIDE / side) ** 2)
            place = ((where[:, 1:].mean(0) + 0.5) / side).float()
            torch.testing.assert_close(tokens.places[row, token], place)
        assert (numbers[row][~planned.mask[row]] == 0).all()


@pytest.mark.parametrize("name", [*UNTRAINED, *OF_THE_CLIP, "frequency"])
def test_features_that_are_trained_have_a_gradient_and_cached_ones_give_the_same_tokens(name: str) -> None:
    tokeniser = made(name)
    planned = clips(tokeniser, [30, 13])
    pooled = tokeniser.extract(planned)
    cached = tokeniser.encode_planned(replace(planned, frames=None, pooled=pooled))
    torch.testing.assert_close(cached.tokens, tokeniser.encode_planned(planned).tokens)
    tokeniser.backbone.set_frozen(False)
    tokeniser.encode_planned(planned).tokens.square().sum().backward()
    assert all(one.grad is not None and one.grad.isfinite().all() for one in tokeniser.parameters())


def test_tokens_of_a_selection_keep_their_places() -> None:
    tokeniser = made("vtok")
    tokens = tokeniser.encode_planned(clips(tokeniser, [30, 13]))
    rows = tokens.select(torch.tensor([1, 0, 1]))
    for name in ("tokens", "timestamps", "mask", "places", "weights"):
        given, chosen = getattr(tokens, name), getattr(rows, name)
        torch.testing.assert_close(chosen, torch.stack([given[1], given[0], given[1]]), equal_nan=True)
    some = tokens.at(torch.tensor([[0, 17], [18, 5]]))
    assert torch.equal(some.tokens[1, 0], tokens.tokens[0, 18])
    assert some.places[:, 1].isnan().all(1).tolist() == [True, False]
    assert some.weights.tolist() == [[4, 64], [64, 4]]
