import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vtok.backbone import TinyBackbone
from vtok.tokeniser import PlannedFrames, TokenLearnerTokeniser
from vtok.tokeniser.token_learner import TokenLearner


def summarised(learner: TokenLearner, values: Tensor) -> Tensor:
    """Equation 2 of BLIP-3-Video, one token and one value (P, width) after the other."""
    norm, first, _, second = learner.scores
    assert isinstance(first, nn.Linear)
    assert isinstance(second, nn.Linear)
    assert isinstance(norm, nn.LayerNorm)
    scores = []
    for value in values:
        normed = (value - value.mean()) / (value.var(correction=0) + norm.eps).sqrt() * norm.weight + norm.bias
        scores.append(second.weight @ F.gelu(first.weight @ normed + first.bias) + second.bias)
    tokens = []
    for number in range(len(second.bias)):
        shares = [math.exp(score[number]) for score in scores]
        tokens.append(sum(share * value for share, value in zip(shares, values, strict=True)) / sum(shares))
    return torch.stack(tokens)


def placed(tokeniser: TokenLearnerTokeniser, frames: Tensor) -> Tensor:
    """The values of frames (K, 3, 8, 8) that are pooled to 2 x 2 cells, with a width of 8."""
    rates = [10_000 ** (-i / 4) for i in range(4)]
    values = []
    for number, frame in enumerate(frames):
        time = torch.tensor([math.sin(number * rate) for rate in rates] + [math.cos(number * rate) for rate in rates])
        for cell in range(4):
            row, column = divmod(cell, 2)
            value = tokeniser.embed.inward(frame[:, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4].mean((1, 2)))
            values.append(value if tokeniser.embed.place is None else value + tokeniser.embed.place[cell] + time)
    return torch.stack(values)


@pytest.mark.parametrize("positions", [True, False])
@torch.no_grad()
def test_tokens_are_the_papers_formula(positions: bool, pixels) -> None:
    video = torch.rand(2, 5, 3, 8, 8)
    tokeniser = TokenLearnerTokeniser(
        pixels, grid_size=2, stride=2, num_tokens=3, width=8, token_dim=5, positions=positions
    )
    result = tokeniser.encode(video)
    for row in range(2):
        expected = tokeniser.outward(summarised(tokeniser.learner, placed(tokeniser, video[row, ::2])))
        torch.testing.assert_close(result.tokens[row], expected)
    assert result.timestamps.tolist() == [[2.0] * 3] * 2


@torch.no_grad()
def test_padding_is_not_read(pixels) -> None:
    frames = torch.rand(2, 5, 3, 8, 8)
    mask = torch.tensor([[True] * 5, [True, True, False, False, False]])
    tokeniser = TokenLearnerTokeniser(pixels, stride=1, num_tokens=3, width=8)
    planned = PlannedFrames(frames, torch.zeros(2, dtype=torch.long), mask, torch.arange(5.0).expand(2, -1))
    both, alone = tokeniser.encode_planned(planned), tokeniser.encode(frames[1:, :2])
    torch.testing.assert_close(both.tokens[1:], alone.tokens)
    assert both.timestamps[:, 0].tolist() == [2.0, 0.5]


@torch.no_grad()
def test_only_positions_tell_the_order_of_frames(pixels) -> None:
    video = torch.rand(1, 5, 3, 8, 8)
    with_order = TokenLearnerTokeniser(pixels, stride=1, num_tokens=3, width=8)
    assert not torch.allclose(with_order(video), with_order(video.flip(1)), atol=1e-4)
    without = TokenLearnerTokeniser(pixels, stride=1, num_tokens=3, width=8, positions=False)
    torch.testing.assert_close(without(video), without(video.flip(1)))


@torch.no_grad()
def test_every_token_depends_on_every_frame_from_the_start(pixels) -> None:
    torch.manual_seed(0)
    tokeniser = TokenLearnerTokeniser(pixels, stride=1)
    video = torch.rand(1, 31, 3, 8, 8)
    tokens = tokeniser(video)
    for frame in range(31):
        other = video.clone()
        other[:, frame] = torch.rand(3, 8, 8)
        assert ((tokeniser(other) - tokens).norm(dim=2) > 1e-4 * tokens.norm(dim=2)).all()
    # Maps differ from the start too.
    assert torch.cdist(tokens[0], tokens[0]).fill_diagonal_(torch.inf).min() > 1e-3


def test_gradient_reaches_all_that_is_trained() -> None:
    tokeniser = TokenLearnerTokeniser(TinyBackbone(), num_tokens=3, width=16)
    tokeniser(torch.rand(1, 12, 3, 64, 64)).pow(2).sum().backward()
    assert all(one.grad is not None and one.grad.isfinite().all() for one in tokeniser.parameters())
