import math
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vtok.backbone import TinyBackbone
from vtok.common.errors import UserError
from vtok.tokeniser import (
    MOTION,
    SPATIAL,
    AttentionPooling,
    DeltaTokeniser,
    GridPooling,
    MeanPooling,
    PlannedFrames,
    TransformerPooling,
)

POOLINGS = [MeanPooling, partial(GridPooling, size=2), AttentionPooling, partial(TransformerPooling, width=8, size=2)]


@pytest.mark.parametrize(("num_frames", "stride", "tokens"), [(30, 6, 16 + 4), (121, 4, 16 + 30), (1, 6, 16)])
@pytest.mark.parametrize("pooling", POOLINGS)
def test_token_count(pooling, num_frames: int, stride: int, tokens: int, pixels) -> None:
    tokeniser = DeltaTokeniser(pixels, stride=stride, motion_pooling=pooling)
    result = tokeniser.encode(torch.rand(1, num_frames, 3, 8, 8))
    assert result.tokens.shape == (1, tokens, 3)
    assert result.kind.tolist() == [SPATIAL] * 16 + [MOTION] * (tokens - 16)


def test_tokens_are_g_phi_of_the_change_since_the_frame_before(pixels) -> None:
    video = torch.rand(2, 30, 3, 8, 8)
    tokeniser = DeltaTokeniser(pixels, stride=6)
    result = tokeniser.encode(video)
    changes = (video[:, [6, 12, 18, 24]] - video[:, [0, 6, 12, 18]]).mean((-2, -1))
    torch.testing.assert_close(result.tokens[:, 16:], tokeniser.motion(changes))
    torch.testing.assert_close(result.tokens[:, :16], F.avg_pool2d(video[:, 0], 2).flatten(2).mT)
    assert result.timestamps[0].tolist() == [0] * 16 + [6, 12, 18, 24]


def test_changes_add_up_to_the_residual_since_the_first_frame(pixels) -> None:
    video = torch.rand(1, 5, 3, 8, 8)
    planned = PlannedFrames(video, torch.zeros(1), torch.ones(1, 5, dtype=torch.bool), torch.zeros(1, 5))
    changes = DeltaTokeniser(pixels, stride=1, motion_pooling=partial(GridPooling, size=2)).extract(planned)["residual"]
    whole = F.avg_pool2d((video[:, 1:] - video[:, :1]).flatten(0, 1), 4).flatten(1)
    torch.testing.assert_close(changes.cumsum(1)[0], whole)


def test_another_key_frame_is_refused(pixels) -> None:
    with pytest.raises(UserError, match=r"key_frame=7.*first frame"):
        DeltaTokeniser(pixels)(torch.rand(1, 30, 3, 8, 8), key_frame=7)


def by_hand(pooling: TransformerPooling, residual: Tensor) -> Tensor:
    """One layer of one head, written out; residual (C, h, w) of the pooling's own size."""
    layer = pooling.layers[0]
    assert isinstance(layer, nn.TransformerEncoderLayer)
    places = residual.flatten(1).T @ pooling.inward.weight.T + pooling.inward.bias
    tokens = torch.cat([torch.zeros(1, pooling.width), places]) + pooling.place
    normed = layer.norm1(tokens)
    query, key, value = (normed @ layer.self_attn.in_proj_weight.T + layer.self_attn.in_proj_bias).chunk(3, dim=-1)
    attended = (query @ key.T / math.sqrt(pooling.width)).softmax(-1) @ value
    tokens = tokens + layer.self_attn.out_proj(attended)
    return (tokens + layer.linear2(F.gelu(layer.linear1(layer.norm2(tokens)))))[0]


def test_transformer_pooling_is_attention_written_out() -> None:
    pooling = TransformerPooling(3, size=4, width=8, depth=1, heads=1)
    features, key = torch.rand(2, 5, 3, 4, 4), torch.rand(2, 3, 4, 4)
    found = pooling(features, key)
    assert found.shape == (2, 5, 8)
    torch.testing.assert_close(found[1, 3], by_hand(pooling, features[1, 3] - key[1]))
    # A larger map is pooled first.
    stretched = pooling(
        features.repeat_interleave(2, -1).repeat_interleave(2, -2),
        key.repeat_interleave(2, -1).repeat_interleave(2, -2),
    )
    torch.testing.assert_close(stretched, found)


def test_gradient_reaches_all_that_is_trained() -> None:
    tokeniser = DeltaTokeniser(TinyBackbone(), token_dim=32, motion_pooling=partial(TransformerPooling, width=16))
    tokeniser(torch.rand(1, 12, 3, 64, 64)).pow(2).sum().backward()
    assert all(one.grad is not None and one.grad.isfinite().all() for one in tokeniser.parameters())
