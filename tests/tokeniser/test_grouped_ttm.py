import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vtok.backbone import TinyBackbone
from vtok.tokeniser import GroupedTtmTokeniser, PlannedFrames
from vtok.tokeniser.grouped_ttm import TokenTuringMachine
from vtok.tokeniser.token_learner import TokenLearner


def summarised(learner: TokenLearner, values: Tensor) -> Tensor:
    """S_k(V) = softmax(MLP(V)) V of values (P, width), one token after the other."""
    norm, first, _, second = learner.scores
    assert isinstance(first, nn.Linear)
    assert isinstance(second, nn.Linear)
    scores = [second.weight @ F.gelu(first.weight @ norm(value) + first.bias) + second.bias for value in values]
    tokens = []
    for number in range(len(second.bias)):
        shares = torch.stack([score[number].exp() for score in scores])
        tokens.append((shares / shares.sum()) @ values)
    return torch.stack(tokens)


def step(machine: TokenTuringMachine, memory: Tensor, seen: Tensor) -> Tensor:
    """Z = S([M, I]), O = process(Z), S([M, I, O]), for one place; a transformer of one layer and one head."""
    layer, last = machine.process
    assert isinstance(layer, nn.TransformerEncoderLayer)
    read = summarised(machine.read, torch.stack([*memory, seen]) + machine.read_position)
    normed = layer.norm1(read)
    query, key, value = (normed @ layer.self_attn.in_proj_weight.T + layer.self_attn.in_proj_bias).chunk(3, dim=-1)
    read = read + layer.self_attn.out_proj((query @ key.T / math.sqrt(query.shape[1])).softmax(-1) @ value)
    made = last(read + layer.linear2(F.gelu(layer.linear1(layer.norm2(read)))))
    return summarised(machine.write, torch.stack([*memory, seen, *made]) + machine.write_position)


@torch.no_grad()
def test_tokens_are_the_papers_formulas(pixels) -> None:
    video = torch.rand(1, 5, 3, 8, 8)
    tokeniser = GroupedTtmTokeniser(
        pixels, grid_size=2, stride=2, num_tokens=3, memory=2, width=8, heads=1, token_dim=5
    ).eval()
    rates = [10_000 ** (-i / 4) for i in range(4)]
    place = tokeniser.embed.place
    assert place is not None
    memories = [torch.zeros(2, 8) for _ in range(4)]
    for number, frame in enumerate(video[0, ::2]):
        time = torch.tensor([math.sin(number * rate) for rate in rates] + [math.cos(number * rate) for rate in rates])
        for cell in range(4):
            row, column = divmod(cell, 2)
            mean = frame[:, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4].mean((1, 2))
            memories[cell] = step(tokeniser.machine, memories[cell], tokeniser.embed.inward(mean) + place[cell] + time)
    expected = tokeniser.outward(summarised(tokeniser.learner, torch.cat(memories)))
    result = tokeniser.encode(video)
    torch.testing.assert_close(result.tokens[0], expected)
    assert result.timestamps.tolist() == [[2.0] * 3]


@torch.no_grad()
def test_a_place_has_a_memory_of_its_own(pixels) -> None:
    tokeniser = GroupedTtmTokeniser(pixels, grid_size=2, stride=1, num_tokens=3, width=8)
    written: list[Tensor] = []
    tokeniser.learner.register_forward_pre_hook(lambda module, given: written.append(given[0]))
    video = torch.rand(1, 4, 3, 8, 8)
    other = video.clone()
    other[:, 1, :, :4, 4:] = torch.rand(3, 4, 4)
    tokeniser(video)
    tokeniser(other)
    before, after = (one.view(4, 4, 8) for one in written)
    assert [bool((before[cell] != after[cell]).any()) for cell in range(4)] == [False, True, False, False]


@torch.no_grad()
def test_a_clip_that_has_ended_keeps_its_memory(pixels) -> None:
    frames = torch.rand(2, 5, 3, 8, 8)
    mask = torch.tensor([[True] * 5, [True, True, False, False, False]])
    tokeniser = GroupedTtmTokeniser(pixels, stride=1, num_tokens=3, width=8).eval()
    planned = PlannedFrames(frames, torch.zeros(2, dtype=torch.long), mask, torch.arange(5.0).expand(2, -1))
    both, alone = tokeniser.encode_planned(planned), tokeniser.encode(frames[1:, :2])
    torch.testing.assert_close(both.tokens[1:], alone.tokens)
    assert both.timestamps[:, 0].tolist() == [2.0, 0.5]
    assert not torch.allclose(tokeniser(frames), tokeniser(frames.flip(1)), atol=1e-4)


@torch.no_grad()
def test_every_token_depends_on_every_frame_from_the_start(pixels) -> None:
    torch.manual_seed(0)
    tokeniser = GroupedTtmTokeniser(pixels, stride=1).eval()
    video = torch.rand(1, 31, 3, 8, 8)
    tokens = tokeniser(video)
    for frame in range(31):
        other = video.clone()
        other[:, frame] = torch.rand(3, 8, 8)
        assert ((tokeniser(other) - tokens).norm(dim=2) > 1e-5 * tokens.norm(dim=2)).all()


def test_gradient_reaches_all_that_is_trained() -> None:
    tokeniser = GroupedTtmTokeniser(TinyBackbone(), num_tokens=3, width=16)
    tokeniser(torch.rand(1, 12, 3, 64, 64)).pow(2).sum().backward()
    assert all(one.grad is not None and one.grad.isfinite().all() for one in tokeniser.parameters())


def test_a_width_that_does_not_fit_is_told(pixels) -> None:
    with pytest.raises(ValueError, match="multiple of 8"):
        GroupedTtmTokeniser(pixels, width=12)
