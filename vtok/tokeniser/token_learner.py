"""TokenLearner (Ryoo et al. 2021, arXiv 2106.11297) over the places of all frames, as BLIP-3-Video uses it."""

from typing import Annotated

import torch
from annotated_types import Ge, MultipleOf
from torch import Tensor, nn

from vtok.backbone import Backbone
from vtok.common.setting_types import Count
from vtok.data.plan import StridePlanner
from vtok.tokeniser.base import Tokeniser, VideoTokens, check_grid
from vtok.tokeniser.clip_tokens import clip_tokens
from vtok.tokeniser.planned_frames import PlannedFrames
from vtok.tokeniser.resampler import sinusoid


class FeatureEmbedding(nn.Module):
    """Features of the cells of frames, normalised, in another width, with the cell's place and the frame's time.

    A place is a learned embedding, a time the sinusoid of the frame's number among the sampled ones.

    Args:
        feature_dim: width of the features.
        width: width of the result.
        cells: number of cells of a frame.
        positions: whether place and time are added.
    """

    def __init__(self, *, feature_dim: int, width: int, cells: int, positions: bool = True) -> None:
        super().__init__()
        self.inward = nn.Sequential(nn.LayerNorm(feature_dim), nn.Linear(feature_dim, width))
        self.place = nn.Parameter(0.02 * torch.randn(cells, width)) if positions else None

    def forward(self, grid: Tensor) -> Tensor:
        """Pooled frames (B, K, S, C) in the order of time -> (B, K, S, width)."""
        seen = self.inward(grid)
        if self.place is None:
            return seen
        return seen + self.place + sinusoid(seen.shape[1], like=seen).unsqueeze(1)


class TokenLearner(nn.Module):
    """Means of values, weighted by learned maps: x_i = sum_p A_ip v_p,  A_i = softmax over p of MLP(LayerNorm(v_p))_i.

    This is version 1.1 of the authors' code: softmax instead of sigmoid, an MLP instead of convolutions. The MLP's
    hidden width is twice the number of tokens, as in BLIP-3-Video. Its first weights are Xavier's, as in the authors'
    code, so that maps differ from the start and no place has a weight of zero.

    Args:
        width: width of the values.
        num_tokens: number of tokens.
    """

    def __init__(self, *, width: int, num_tokens: int) -> None:
        super().__init__()
        first, second = nn.Linear(width, 2 * num_tokens), nn.Linear(2 * num_tokens, num_tokens)
        for layer in (first, second):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
        self.scores = nn.Sequential(nn.LayerNorm(width), first, nn.GELU(), second)

    def forward(self, values: Tensor, there: Tensor | None = None) -> Tensor:
        """Values (B, P, width), of which those that are not `there` (B, P) are not read -> (B, num_tokens, width)."""
        scores = self.scores(values)
        if there is not None:
            scores = scores.masked_fill(~there.unsqueeze(2), -torch.inf)
        return scores.softmax(1).mT @ values


class TokenLearnerTokeniser(Tokeniser):
    """`num_tokens` tokens a clip, each a mean of all places of all sampled frames, weighted by a learned map.

    BLIP-3-Video's spatio-temporal attentional pooling (Ryoo et al. 2024, arXiv 2410.16267, eq. 2), with 32 tokens
    there:

    x_i = A(V)_i V,  A(V) = softmax of MLP(V),  V the features of all places of all frames

    Different from there: the features are those of a grid, brought to `width` by one layer, instead of 128 tokens a
    frame from a Perceiver Resampler; and each feature has an embedding of its place and time. Without embeddings
    (`positions=false`), which is eq. 2 to the letter, the tokens do not depend on the order of the frames.

    A token represents the full clip: its timestamp is the mean of the sampled frames' timestamps, its weight all places
    of these frames.

    Args:
        grid_size: every sampled frame becomes grid_size x grid_size features to read.
        stride: clip frames between two sampled frames.
        num_tokens: number of learned maps, which is the number of tokens of any clip.
        width: width of the features that are averaged, an even number.
        positions: whether each feature has an embedding of its place and time.

    Raises:
        UserError: a stride below 1, or a grid larger than the feature map.
    """

    budgeted = "num_tokens"

    def __init__(
        self,
        backbone: Backbone,
        *,
        grid_size: Count = 4,
        stride: Count = 6,
        num_tokens: Count = 20,
        width: Annotated[int, Ge(2), MultipleOf(2)] = 128,
        positions: bool = True,
        token_dim: Count | None = None,
        budget: Count | None = None,
    ) -> None:
        planner = StridePlanner(stride=stride, key_tokens=num_tokens, frame_tokens=0, budget=budget)
        super().__init__(backbone, planner=planner, token_dim=token_dim)
        self.grid_size = check_grid(grid_size, backbone)
        self.embed = FeatureEmbedding(
            feature_dim=backbone.feature_dim, width=width, cells=grid_size**2, positions=positions
        )
        self.learner = TokenLearner(width=width, num_tokens=num_tokens)
        self.outward = nn.Linear(width, self.token_dim)

    def extract(self, planned: PlannedFrames) -> dict[str, Tensor]:
        """`grid` (B, K, S, C): the pooled frames in the order of time."""
        return {"grid": self.grids(planned, self.grid_size)}

    def project(self, pooled: dict[str, Tensor], planned: PlannedFrames) -> VideoTokens:
        values = self.embed(pooled["grid"]).flatten(1, 2)
        there = planned.mask.repeat_interleave(self.grid_size**2, dim=1)
        tokens = self.outward(self.learner(values, there))
        return clip_tokens(tokens, planned, map_size=self.backbone.feature_size)
