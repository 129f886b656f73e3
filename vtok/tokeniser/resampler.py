"""Learned queries read the features of all sampled frames: Flamingo's Perceiver Resampler, BLIP-2's Q-Former."""

import math
from typing import Annotated

import torch
from annotated_types import Ge
from torch import Tensor, nn

from vtok.backbone import Backbone
from vtok.common.setting_types import Count, MultipleOfSetting
from vtok.data.plan import StridePlanner
from vtok.tokeniser.base import Tokeniser, VideoTokens, check_grid
from vtok.tokeniser.clip_tokens import clip_tokens
from vtok.tokeniser.planned_frames import PlannedFrames


class ResamplerTokeniser(Tokeniser):
    """`num_queries` tokens a clip, however long it is, read out of all sampled frames' grids by learned queries.

    As in Flamingo's Perceiver Resampler (Alayrac et al. 2022, arXiv 2204.14198) the frames' features, with an embedding
    of their time, are laid out as one sequence, and a fixed number of queries reads it. The layers are those of the
    Q-Former (BLIP-2, Li et al. 2023, arXiv 2301.12597) without its text: self-attention among the queries,
    cross-attention to the features, a feed-forward layer; Flamingo has one attention to both. Different from both:
    frames are pooled to a grid first; each cell has an embedding of its place;
    time is a sinusoid of the frame's number among the sampled ones, so that there is no longest clip; all is trained
    from scratch.

    A token represents the full clip: its timestamp is the mean of the sampled frames' timestamps, its weight all places
    of these frames.

    Args:
        grid_size: every sampled frame becomes grid_size x grid_size features to read.
        stride: clip frames between two sampled frames.
        num_queries: number of learned queries, which is the number of tokens of any clip.
        width: width of the layers, a multiple of 2 x heads.
        depth: number of layers.
        heads: number of attention heads.

    Raises:
        UserError: a stride below 1, or a grid larger than the feature map.
        ValueError: a width that is not a multiple of 2 x heads.
    """

    budgeted = "num_queries"

    def __init__(
        self,
        backbone: Backbone,
        *,
        grid_size: Count = 4,
        stride: Count = 6,
        num_queries: Count = 20,
        width: Annotated[int, Ge(1), MultipleOfSetting("heads", times=2)] = 128,
        depth: Count = 2,
        heads: Count = 4,
        token_dim: Count | None = None,
        budget: Count | None = None,
    ) -> None:
        if width % (2 * heads):
            raise ValueError(f"width={width} must be a multiple of {2 * heads}, twice heads={heads}.")
        planner = StridePlanner(stride=stride, key_tokens=num_queries, frame_tokens=0, budget=budget)
        super().__init__(backbone, planner=planner, token_dim=token_dim)
        self.grid_size = check_grid(grid_size, backbone)
        self.inward = nn.Linear(backbone.feature_dim, width)
        self.place = nn.Parameter(0.02 * torch.randn(grid_size**2, width))
        self.norm = nn.LayerNorm(width)
        self.queries = nn.Parameter(0.02 * torch.randn(num_queries, width))
        self.layers = nn.ModuleList(
            nn.TransformerDecoderLayer(
                width, heads, 4 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
            )
            for _ in range(depth)
        )
        self.outward = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, self.token_dim))

    def extract(self, planned: PlannedFrames) -> dict[str, Tensor]:
        """`grid` (B, K, S, C): the pooled frames in the order of time."""
        return {"grid": self.grids(planned, self.grid_size)}

    def project(self, pooled: dict[str, Tensor], planned: PlannedFrames) -> VideoTokens:
        seen = self.inward(pooled["grid"]) + self.place
        memory = self.norm((seen + sinusoid(seen.shape[1], like=seen).unsqueeze(1)).flatten(1, 2))
        padding = ~planned.mask.repeat_interleave(self.grid_size**2, dim=1)
        tokens = self.queries.expand(len(memory), -1, -1)
        for layer in self.layers:
            tokens = layer(tokens, memory, memory_key_padding_mask=padding)
        return clip_tokens(self.outward(tokens), planned, map_size=self.backbone.feature_size)


def sinusoid(number: int, *, like: Tensor) -> Tensor:
    """Embeddings of the first `number` frames, (number, width of `like`) (Vaswani et al. 2017): sines, then cosines."""
    half = like.shape[-1] // 2
    rates = torch.exp(torch.arange(half, device=like.device) * (-math.log(10_000) / half))
    angles = torch.arange(number, device=like.device).unsqueeze(1) * rates
    return torch.cat([angles.sin(), angles.cos()], dim=1).to(like.dtype)
