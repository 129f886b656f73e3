"""A budget is met exactly, or refused with the nearest budgets that can be met."""

import re
from collections.abc import Callable
from math import ceil

import pytest
import torch
from omegaconf import DictConfig, OmegaConf

from vtok.cli.main import main
from vtok.common.errors import UserError
from vtok.config import compose, settle_budget
from vtok.config.budget import parse_budget
from vtok.config.compose import options_of
from vtok.config.nodes import constant_of, planner_of
from vtok.model.build import build

BUDGETS = (1, 16, 17, 20, 45, 46, 49, 64, 137, 10_000)


def elastic_square(num_tokens: int) -> int:
    """The largest of 1, 4, 9 and 16 that is at most four fifths of the budget; 1 if none is."""
    return max((one for one in (4, 9, 16) if 5 * one <= 4 * num_tokens), default=1)


# Tokens of a clip by its number of frames and the value of the budgeted setting; other settings have their defaults.
COUNTS: dict[str, Callable[[int, int], int]] = {
    "vtok": lambda frames, stride: 16 + ceil(frames / stride) - 1,
    "codec_motion": lambda frames, stride: 16 + ceil(frames / stride) - 1,
    "delta": lambda frames, stride: 16 + ceil(frames / stride) - 1,
    "frame_sampling": lambda frames, stride: 4 * ceil(frames / stride),
    "llama_vid": lambda frames, stride: 2 * ceil(frames / stride),
    "key_frame": lambda _, grid_size: grid_size**2,
    "resampler": lambda _, num_queries: num_queries,
    "frequency": lambda frames, num_tokens: min(num_tokens, 16 + ceil(frames / 6) - 1),
    "elastic": lambda frames, num_tokens: min(num_tokens, elastic_square(num_tokens) + frames - 1),
    "token_learner": lambda _, num_tokens: num_tokens,
    "grouped_ttm": lambda _, num_tokens: num_tokens,
    **{
        option: lambda frames, num_tokens: min(num_tokens, 64 * ceil(frames / 6))
        for option in ("random", "uniform", "vidcom2", "tome", "visionzip", "kmeans")
    },
    "evs": lambda frames, num_tokens: min(num_tokens, 16 * ceil(frames / 6)),
    "slow_fast": lambda frames, stride: 4 * min(3, ceil(frames / stride)) + ceil(frames / stride),
}


@pytest.mark.parametrize("option", COUNTS)
@pytest.mark.parametrize("num_frames", [30, 121])
def test_a_budget_is_met_exactly_or_the_nearest_are_named(option: str, num_frames: int) -> None:
    whole = compose([f"tokeniser={option}", f"clip.num_frames={num_frames}", "backbone.width=8"])
    key = constant_of(whole.tokeniser, "budgeted")
    most = {"stride": max(1, num_frames - 1), "grid_size": 8}.get(key, max(BUDGETS))
    counts = {value: COUNTS[option](num_frames, value) for value in range(1, most + 1)}
    for budget in BUDGETS:
        if option in ("evs", "frequency") and budget < 16:
            continue
        config = OmegaConf.merge(whole, {"tokeniser": {"budget": budget}})
        assert isinstance(config, DictConfig)
        if budget in counts.values():
            settle_budget(config)
            assert config.tokeniser.budget == budget == counts[config.tokeniser[key]]
            planner = planner_of(config)
            assert planner is not None
            assert planner.num_tokens(len(planner.plan(num_frames).indices)) == budget
            continue
        with pytest.raises(UserError) as error:
            settle_budget(config)
        named = re.findall(rf"(\d+) \(tokeniser\.{key}=(\d+)\)", str(error.value))
        below = [count for count in counts.values() if count < budget]
        above = [count for count in counts.values() if count > budget]
        nearest = ([max(below)] if below else []) + ([min(above)] if above else [])
        assert [int(count) for count, _ in named] == nearest
        assert all(counts[int(value)] == int(count) for count, value in named)
        assert str(error.value).startswith(f"tokeniser.budget={budget}: ")
        assert len(str(error.value).splitlines()) == 1


def test_a_budget_that_the_tokeniser_refuses_is_answered_by_the_tokeniser() -> None:
    with pytest.raises(UserError, match=r"num_tokens=15 is fewer than the 16 patches of the first frame. Use 16"):
        compose(["tokeniser=evs", "tokeniser.budget=15"])


def test_every_tokeniser_that_takes_a_budget_is_counted_here() -> None:
    options = options_of("tokeniser")
    assert {one for one in options if constant_of(compose([f"tokeniser={one}"]).tokeniser, "budgeted")} == set(COUNTS)


def test_the_papers_46_tokens_are_stride_4_of_121_frames(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", "backbone=clip", "clip.num_frames=121", "tokeniser.budget=46"]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"^plan +31 of 121 frames: 0, 4, 8,", shown, re.MULTILINE)
    assert re.search(r"^budget +46: tokeniser.stride=4$", shown, re.MULTILINE)


def test_a_setting_that_meets_the_budget_stays_else_the_widest_stride_is_chosen() -> None:
    assert compose(["tokeniser.budget=20"]).tokeniser.stride == 6
    config = compose(["clip.num_frames=37"])
    config.tokeniser.budget = 22
    settle_budget(config)
    assert config.tokeniser.stride == 6
    config.tokeniser.stride = 3
    settle_budget(config)
    assert config.tokeniser.stride == 6
    assert compose(["tokeniser.budget=20", "tokeniser.stride=7"]).tokeniser.stride == 7


def test_an_override_that_does_not_meet_the_budget_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    for given in (["tokeniser.stride=3"], ["tokeniser=key_frame", "tokeniser.budget=16", "tokeniser.grid_size=2"]):
        assert main(["validate", "tokeniser.budget=20", *given]) == 1
    message = capsys.readouterr().err
    assert "tokeniser.stride=3: this does not meet tokeniser.budget=20 with clip.num_frames=30." in message
    assert "Remove it, or use tokeniser.stride=7." in message
    assert "use tokeniser.grid_size=4." in message


def test_a_longer_clip_than_the_budget_allows_is_refused_and_a_shorter_one_has_fewer_tokens() -> None:
    tokeniser = build(compose(["tokeniser.budget=20", "backbone.width=8"]).tokeniser)
    assert tokeniser(torch.rand(1, 12, 3, 64, 64)).shape[1] == 17
    with pytest.raises(UserError, match=r"budget=20: a clip of 60 frames makes 25 tokens"):
        tokeniser(torch.rand(1, 60, 3, 64, 64))


@pytest.mark.parametrize(
    "given", ["0", "-3", "4.5", "abc", "nan", "true", "3 GFLOPs", "3GFLOPs", "40 s", "-3GFLOP", "0ms", "nanms", "1e3ms"]
)
def test_what_is_no_budget_is_refused_with_the_allowed_forms(given: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", f"tokeniser.budget={given}"]) == 1
    message = capsys.readouterr().err
    assert f"tokeniser.budget={given}: this is not a budget. Use a number of tokens" in message
    assert all(f"tokeniser.budget={form}" in message for form in ("46", "3GFLOP", "40ms"))


@pytest.mark.parametrize(
    ("value", "amount", "currency"),
    [
        (46, 46, "tokens"),
        ("3GFLOP", 3, "GFLOP"),
        ("0.15GFLOP", 0.15, "GFLOP"),
        (".5ms", 0.5, "ms"),
        ("1250ms", 1250, "ms"),
    ],
)
def test_a_budget_has_an_amount_and_a_currency(value: int | str, amount: float, currency: str) -> None:
    budget = parse_budget(value)
    assert (budget.amount, budget.currency) == (amount, currency)
    # What a message says can be typed again.
    assert parse_budget(str(budget) if currency != "tokens" else int(str(budget))) == budget
