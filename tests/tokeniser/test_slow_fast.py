import pytest
import torch
from torch.nn import functional as F

from vtok.backbone import TinyBackbone
from vtok.common.errors import UserError
from vtok.config import compose
from vtok.config.nodes import planner_of
from vtok.data.plan import SlowFastPlanner
from vtok.tokeniser import PlannedFrames, SlowFastTokeniser


@pytest.mark.parametrize(
    ("num_frames", "slow_frames", "tokens"),
    [(30, 3, 3 * 16 + 8), (121, 3, 3 * 16 + 31), (121, 31, 31 * 16 + 31), (30, 20, 8 * 16 + 8), (1, 3, 16 + 1)],
)
def test_token_count(num_frames: int, slow_frames: int, tokens: int, pixels) -> None:
    planner = SlowFastPlanner(4, key_tokens=16, frame_tokens=1, slow_frames=slow_frames)
    assert planner.num_tokens(planner.max_frames(num_frames)) == tokens
    tokeniser = SlowFastTokeniser(pixels, grid_size=4, slow_frames=slow_frames, fast_grid_size=1, stride=4)
    assert tokeniser(torch.rand(1, num_frames, 3, 8, 8)).shape == (1, tokens, 3)
    assert len(tokeniser.kinds(planner.max_frames(num_frames))) == tokens


def test_slow_frames_are_spread_from_the_first_to_the_last() -> None:
    planner = SlowFastPlanner(1, slow_frames=3)
    assert [planner.slow(count) for count in (1, 2, 3, 8, 9)] == [(0,), (0, 1), (0, 1, 2), (0, 4, 7), (0, 4, 8)]


def test_tokens_are_pooled_pixels_slow_before_fast(pixels) -> None:
    video = torch.rand(2, 9, 3, 8, 8)
    result = SlowFastTokeniser(pixels, grid_size=4, slow_frames=2, fast_grid_size=2, stride=2).encode(video)
    sampled = video[:, ::2]
    slow = F.avg_pool2d(sampled[:, [0, 4]].flatten(0, 1), 2).flatten(2).mT.reshape(2, 32, 3)
    fast = F.avg_pool2d(sampled.flatten(0, 1), 4).flatten(2).mT.reshape(2, 20, 3)
    torch.testing.assert_close(result.tokens, torch.cat([slow, fast], dim=1))
    times = [0] * 16 + [8] * 16 + [time for time in (0, 2, 4, 6, 8) for _ in range(4)]
    assert result.timestamps.tolist() == [times, times]
    assert result.mask.all()


def test_a_shorter_clip_of_a_batch_has_the_tokens_that_it_has_alone(pixels) -> None:
    frames = torch.rand(2, 5, 3, 8, 8)
    mask = torch.tensor([[True] * 5, [True, True, False, False, False]])
    times = torch.arange(5.0).expand(2, -1)
    tokeniser = SlowFastTokeniser(pixels, grid_size=2, slow_frames=3, stride=1)
    both = tokeniser.encode_planned(PlannedFrames(frames, torch.zeros(2, dtype=torch.long), mask, times))
    alone = tokeniser.encode(frames[1:, :2])
    assert both.mask.sum(1).tolist() == [3 * 4 + 5, 2 * 4 + 2]
    assert both.mask[1, :10].all()
    torch.testing.assert_close(both.tokens[1:, :10], alone.tokens)
    torch.testing.assert_close(both.timestamps[1:, :10], alone.timestamps)


def test_mistakes_are_told() -> None:
    with pytest.raises(UserError, match=r"fast_grid_size=9.*8 places a side\. Use 1 to 8"):
        SlowFastTokeniser(TinyBackbone(), fast_grid_size=9)
    with pytest.raises(UserError, match=r"slow_frames=0.*1 or more"):
        SlowFastTokeniser(TinyBackbone(), slow_frames=0)


@pytest.mark.parametrize(("frames", "stride", "budget"), [(30, 6, 20), (121, 30, 20), (121, 4, 46)])
def test_the_equal_layout_control_reads_the_frames_of_vtok_and_meets_its_budgets(
    frames: int, stride: int, budget: int
) -> None:
    control = ["slow_fast", "tokeniser.slow_frames=1", "tokeniser.grid_size=4", "tokeniser.repeat_slow=false"]
    plans = []
    for option, *settings in (control, ["vtok"]):
        clip = [f"tokeniser={option}", *settings, f"clip.num_frames={frames}", f"tokeniser.budget={budget}"]
        # Without a stride, one that meets the budget is found.
        for given in (clip, [*clip, f"tokeniser.stride={stride}"]):
            planner = planner_of(compose(given))
            assert planner is not None
            assert planner.num_tokens(planner.max_frames(frames)) == budget
        plans.append(planner.plan(frames))
    assert plans[0] == plans[1]


def test_tokens_of_the_equal_layout_control_are_the_pooled_frames(pixels) -> None:
    tokeniser = SlowFastTokeniser(pixels, grid_size=4, slow_frames=1, repeat_slow=False, stride=6)
    video = torch.rand(2, 30, 3, 8, 8)
    result = tokeniser.encode(video)
    torch.testing.assert_close(result.tokens[:, :16], F.avg_pool2d(video[:, 0], 2).flatten(2).mT)
    torch.testing.assert_close(result.tokens[:, 16:], video[:, [6, 12, 18, 24]].mean((-2, -1)))
    assert result.timestamps.tolist() == [[0] * 16 + [6, 12, 18, 24]] * 2
    assert result.weights[0].tolist() == [4] * 16 + [64] * 4
    assert result.mask.all()


def test_a_shorter_clip_has_no_fast_tokens_of_its_own_slow_frames(pixels) -> None:
    frames = torch.rand(2, 6, 3, 8, 8)
    mask = torch.tensor([[True] * 6, [True] * 4 + [False] * 2])
    tokeniser = SlowFastTokeniser(pixels, grid_size=2, slow_frames=3, repeat_slow=False, stride=1)
    times = torch.arange(6.0).expand(2, -1)
    both = tokeniser.encode_planned(PlannedFrames(frames, torch.zeros(2, dtype=torch.long), mask, times))
    assert both.tokens.shape[1] == len(tokeniser.kinds(6)) == 3 * 4 + 3
    assert both.mask.sum(1).tolist() == [15, 3 * 4 + 1]
    alone = tokeniser.encode(frames[1:, :4])
    torch.testing.assert_close(both.tokens[1:, :13], alone.tokens)
    # Of 4 frames the slow ones are 0, 2 and 3.
    assert both.timestamps[1, :13].tolist() == [0] * 4 + [2] * 4 + [3] * 4 + [1]
