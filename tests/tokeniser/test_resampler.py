import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vtok.backbone import TinyBackbone
from vtok.tokeniser import SPATIAL, PlannedFrames, ResamplerTokeniser
from vtok.tokeniser.resampler import sinusoid


@pytest.mark.parametrize(("num_frames", "queries"), [(30, 20), (121, 46), (1, 7)])
def test_token_count_is_that_of_the_queries(num_frames: int, queries: int, pixels) -> None:
    tokeniser = ResamplerTokeniser(pixels, num_queries=queries, width=8, token_dim=5)
    result = tokeniser.encode(torch.rand(2, num_frames, 3, 8, 8))
    assert result.tokens.shape == (2, queries, 5)
    assert result.mask.all()
    assert (
        result.kind.tolist()
        == [SPATIAL] * queries
        == tokeniser.kinds(tokeniser.planner.max_frames(num_frames)).tolist()
    )


def attention(module: nn.MultiheadAttention, query: Tensor, other: Tensor) -> Tensor:
    """One head, written out: softmax(q k^T / sqrt d) v."""
    (q, k, v), (bq, bk, bv) = module.in_proj_weight.chunk(3), module.in_proj_bias.chunk(3)
    scores = (query @ q.T + bq) @ (other @ k.T + bk).T / math.sqrt(len(q))
    return module.out_proj(scores.softmax(-1) @ (other @ v.T + bv))


def test_tokens_are_attention_written_out(pixels) -> None:
    video = torch.rand(1, 4, 3, 8, 8)
    tokeniser = ResamplerTokeniser(pixels, grid_size=2, stride=2, num_queries=3, width=8, depth=1, heads=1)
    layer = tokeniser.layers[0]
    assert isinstance(layer, nn.TransformerDecoderLayer)
    rates = [10_000 ** (-i / 4) for i in range(4)]
    memory = []
    for number, frame in enumerate((video[0, 0], video[0, 2])):
        time = torch.tensor([math.sin(number * rate) for rate in rates] + [math.cos(number * rate) for rate in rates])
        for cell in range(4):
            row, column = divmod(cell, 2)
            mean = frame[:, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4].mean((1, 2))
            memory.append(tokeniser.norm(tokeniser.inward(mean) + tokeniser.place[cell] + time))
    tokens = tokeniser.queries
    normed = layer.norm1(tokens)
    tokens = tokens + attention(layer.self_attn, normed, normed)
    tokens = tokens + attention(layer.multihead_attn, layer.norm2(tokens), torch.stack(memory))
    tokens = tokens + layer.linear2(F.gelu(layer.linear1(layer.norm3(tokens))))
    result = tokeniser.encode(video)
    torch.testing.assert_close(result.tokens[0], tokeniser.outward(tokens))
    assert result.timestamps.tolist() == [[1.0] * 3]


def test_padding_is_not_read_and_the_order_of_frames_is(pixels) -> None:
    frames = torch.rand(2, 5, 3, 8, 8)
    mask = torch.tensor([[True] * 5, [True, True, False, False, False]])
    tokeniser = ResamplerTokeniser(pixels, stride=1, num_queries=3, width=8)
    planned = PlannedFrames(frames, torch.zeros(2, dtype=torch.long), mask, torch.arange(5.0).expand(2, -1))
    both, alone = tokeniser.encode_planned(planned), tokeniser.encode(frames[1:, :2])
    torch.testing.assert_close(both.tokens[1:], alone.tokens)
    assert both.timestamps[:, 0].tolist() == [2.0, 0.5]
    assert not torch.allclose(tokeniser(frames), tokeniser(frames.flip(1)), atol=1e-4)


def test_sinusoids_tell_frames_apart() -> None:
    embeddings = sinusoid(300, like=torch.zeros(1, 16))
    distances = torch.cdist(embeddings, embeddings).fill_diagonal_(torch.inf)
    assert distances.min() > 0.1


def test_gradient_reaches_all_that_is_trained() -> None:
    tokeniser = ResamplerTokeniser(TinyBackbone(), num_queries=3, width=16)
    tokeniser(torch.rand(1, 12, 3, 64, 64)).pow(2).sum().backward()
    assert all(one.grad is not None and one.grad.isfinite().all() for one in tokeniser.parameters())


def test_a_width_that_does_not_fit_is_told(pixels) -> None:
    with pytest.raises(ValueError, match="multiple of 8"):
        ResamplerTokeniser(pixels, width=12)
