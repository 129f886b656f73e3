from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from vtok.common.errors import UserError
from vtok.data import Clip, ClipSample
from vtok.data.plan import ElasticPlanner, split_budget
from vtok.mllm import ChatTokeniser
from vtok.mllm.tiny import byte_level_tokenizer
from vtok.model import Objective
from vtok.model.batch import Batch, stack_frames
from vtok.tokeniser import MOTION, SPATIAL, ElasticTokeniser, VTokTokeniser
from vtok.training.sequences import Collate

UNDERSTANDING = Objective(lambda_under=1.0, lambda_visLM=0.0, lambda_dec=0.0)


@pytest.mark.parametrize(
    ("tokens", "split"),
    [(1, (1, 0)), (2, (1, 1)), (4, (1, 3)), (5, (4, 1)), (11, (4, 7)), (12, (9, 3)), (19, (9, 10)), (20, (16, 4)),
     (46, (16, 30)), (1000, (16, 984))],
)  # fmt: skip
def test_a_budget_is_split_as_in_the_paper(tokens: int, split: tuple[int, int]) -> None:
    assert split_budget(tokens, 4) == split


@pytest.mark.parametrize("frames", [1, 2, 17, 30, 121])
@pytest.mark.parametrize("tokens", range(1, 46))
def test_every_budget_is_exact_until_a_clip_has_no_more_frames(tokens: int, frames: int) -> None:
    planner = ElasticPlanner.of(tokens, grid_size=4, train_tokens=(5, 20, 32))
    indices = planner.plan(frames).indices
    spatial = max((one for one in (1, 4, 9, 16) if 5 * one <= 4 * tokens), default=1)
    assert planner.num_tokens(len(indices)) == min(tokens, spatial + frames - 1)
    assert len(indices) == planner.max_frames(frames)
    assert list(indices) == sorted(set(indices))
    assert indices[0] == 0
    assert indices[-1] == frames - 1 or len(indices) == 1
    if len(indices) > 2 and frames > 60:
        gaps = torch.tensor(indices).diff()
        assert gaps.max() - gaps.min() <= 2 + frames / 17


@pytest.mark.parametrize("frames", [3, 10, 30, 121])
def test_frames_of_a_budget_are_some_of_those_of_the_largest(frames: int) -> None:
    budgets = (5, 8, 12, 20, 32)
    plans = {
        one: set(ElasticPlanner.of(one, grid_size=4, train_tokens=budgets).plan(frames).indices) for one in budgets
    }
    assert all(plan <= plans[32] for plan in plans.values())


@torch.no_grad()
def test_the_tokens_are_those_of_vtok_with_the_grid_and_the_frames_of_the_budget(pixels: Any) -> None:
    video = torch.rand(2, 30, 3, 8, 8)
    for tokens, side, frames in ((20, 4, [0, 7, 14, 22, 29]), (5, 2, [0, 29]), (1, 1, [0])):
        tokeniser = ElasticTokeniser(pixels, num_tokens=tokens)
        vtok = VTokTokeniser(pixels, grid_size=side, stride=1)
        vtok.load_state_dict(tokeniser.state_dict())
        result, expected = tokeniser.encode(video), vtok.encode(video[:, frames])
        assert result.tokens.shape == (2, tokens, 3)
        torch.testing.assert_close(result.tokens, expected.tokens)
        torch.testing.assert_close(result.places, expected.places, equal_nan=True)
        torch.testing.assert_close(result.weights, expected.weights)
        assert result.kind.tolist() == [SPATIAL] * side**2 + [MOTION] * (len(frames) - 1)
        assert result.timestamps[0, side**2 :].tolist() == frames[1:]


def sample(name: str, frames: int) -> ClipSample:
    clip = Clip(name, Path(f"{name}.mp4"), "a caption")
    pixels = torch.randint(256, (frames, 3, 8, 8), dtype=torch.uint8)
    return ClipSample(pixels, torch.arange(float(frames)), 0, clip, 0, indices=tuple(range(frames)))


def batches(planner: ElasticPlanner, seed: int, number: int) -> list[Batch]:
    """Batches of a long and a short clip, as the training loader collates what `for_training` reads."""
    reads = planner.for_training()
    collate = Collate(ChatTokeniser(byte_level_tokenizer()), reads, 1024, None, 1.0, seed, UNDERSTANDING)
    found = []
    for place in range(number):
        batch = collate([sample(f"{place}", reads.max_frames(30)), sample(f"{place} short", reads.max_frames(3))])
        assert isinstance(batch, Batch)
        found.append(batch)
    return found


@torch.no_grad()
def test_a_training_batch_has_a_drawn_budget_and_a_place_for_each_of_its_tokens(pixels: Any) -> None:
    budgets = (1, 5, 12, 20, 32)
    tokeniser = ElasticTokeniser(pixels, num_tokens=20, train_tokens=budgets, budget=20)
    video_id = ChatTokeniser(byte_level_tokenizer()).video_id
    drawn = []
    for batch in batches(tokeniser.planner, seed=0, number=40):
        result = tokeniser.encode_planned(batch.video)
        assert batch.text is not None
        assert (batch.text.ids == video_id).sum(1).tolist() == result.mask.sum(1).tolist()
        long, short = result.mask.sum(1).tolist()
        spatial, motion = split_budget(long, 4)
        assert short == spatial + min(motion, 2)
        assert result.kind.tolist() == [SPATIAL] * spatial + [MOTION] * motion
        alone = ElasticTokeniser(pixels, num_tokens=long, train_tokens=budgets)
        alone.load_state_dict(tokeniser.state_dict())
        torch.testing.assert_close(alone.encode_planned(replace(batch.video, key_tokens=None)).tokens, result.tokens)
        drawn.append(long)
    assert set(drawn) == set(budgets)
    again = [len(tokeniser.encode_planned(one.video).kind) for one in batches(tokeniser.planner, seed=0, number=40)]
    other = [len(tokeniser.encode_planned(one.video).kind) for one in batches(tokeniser.planner, seed=1, number=40)]
    assert again == drawn != other


def test_budgets_are_drawn_equally_often() -> None:
    planner = ElasticPlanner.of(20, grid_size=4, train_tokens=(5, 12, 32))
    counts = Counter(batch.video.key_tokens for batch in batches(planner, seed=2, number=300))
    assert all(abs(count - 100) < 3 * (300 * 2 / 9) ** 0.5 for count in counts.values())


def test_frames_that_training_reads_are_those_of_the_largest_budget(pixels: Any) -> None:
    # The budget limits what is evaluated, not what training draws.
    tokeniser = ElasticTokeniser(pixels, num_tokens=8, train_tokens=(5, 32), budget=8)
    assert len(tokeniser.planner.for_training().plan(30).indices) == 17
    assert len(tokeniser.plan(30).indices) == 5
    frames = sample("a", 17)
    assert stack_frames([frames.at((0, 8, 16))]).timestamps.tolist() == [[0, 8, 16]]


def test_another_key_frame_is_refused(pixels: Any) -> None:
    with pytest.raises(UserError, match=r"key_frame=3: .* ElasticTokeniser is the first\. Use key_frame=0"):
        ElasticTokeniser(pixels).plan(10, 3)
