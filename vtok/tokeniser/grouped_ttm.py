"""The grouped Token Turing Machine of BLIP-3-Video (Ryoo et al. 2024, arXiv 2410.16267, section 2.3)."""

from typing import Annotated

import torch
from annotated_types import Ge
from torch import Tensor, nn

from vtok.backbone import Backbone
from vtok.common.setting_types import Count, MultipleOfSetting
from vtok.data.plan import StridePlanner
from vtok.tokeniser.base import Tokeniser, VideoTokens, check_grid
from vtok.tokeniser.clip_tokens import clip_tokens
from vtok.tokeniser.motion import transformer_layers
from vtok.tokeniser.planned_frames import PlannedFrames
from vtok.tokeniser.token_learner import FeatureEmbedding, TokenLearner


class TokenTuringMachine(nn.Module):
    """One step of a Token Turing Machine (TTM, Ryoo et al. 2023, arXiv 2211.09119): read, process, write.

    Z = S_read(M, I),  O = process(Z),  new M = S_write(M, I, O)

    S is a `TokenLearner` over the tokens M, I, O side by side, each with a learned embedding of its position among
    them. The processor is a transformer with a last LayerNorm. All are as in the authors' code. As many tokens are read
    as the memory has.

    Args:
        width: width of all tokens.
        memory: number of tokens of the memory.
        depth: layers of the transformer.
        heads: attention heads of each layer.
    """

    def __init__(self, *, width: int, memory: int, depth: int, heads: int) -> None:
        super().__init__()
        self.read_position = nn.Parameter(0.02 * torch.randn(memory + 1, width))
        self.read = TokenLearner(width=width, num_tokens=memory)
        self.process = nn.Sequential(*transformer_layers(width, heads=heads, depth=depth), nn.LayerNorm(width))
        self.write_position = nn.Parameter(0.02 * torch.randn(2 * memory + 1, width))
        self.write = TokenLearner(width=width, num_tokens=memory)

    def forward(self, memory: Tensor, seen: Tensor) -> Tensor:
        """Memory (N, G, width) and what is seen (N, 1, width) -> the new memory (N, G, width)."""
        known = torch.cat([memory, seen], dim=1)
        made = self.process(self.read(known + self.read_position))
        return self.write(torch.cat([known, made], dim=1) + self.write_position)


class GroupedTtmTokeniser(Tokeniser):
    """`num_tokens` tokens a clip, pooled from memories that are written frame by frame, one for each place.

    BLIP-3-Video's sequential model, a grouped Token Turing Machine (TTM). Every place j of a frame has a memory of
    `memory` tokens, which starts as zeros; all places share one TTM F; the tokens are attention-pooled from the last
    memories:

    h[j, t] = F(h[j, t - 1], v[j, t]),  x = TokenLearner(h[1, T], ..., h[S, T])

    v[j, t] has an embedding of its frame's number, as in the paper ("time-stamped"). Different from there: places are
    the cells of a grid, brought to `width` by one layer, instead of 128 tokens a frame from a Perceiver Resampler; they
    have an embedding of their place; the transformer has 1 layer by default instead of 4.

    A token represents the full clip: its timestamp is the mean of the sampled frames' timestamps, its weight all places
    of these frames.

    Args:
        grid_size: every sampled frame becomes grid_size x grid_size places, each with a memory.
        stride: clip frames between two sampled frames.
        num_tokens: number of tokens of any clip.
        memory: number of tokens of the memory of a place.
        width: width of the memory and of the transformer, a multiple of 2 x heads.
        depth: number of layers of the transformer that processes what is read.
        heads: number of attention heads.

    Raises:
        UserError: a stride below 1, or a grid larger than the feature map.
        ValueError: a width that is not a multiple of 2 x heads.
    """

    budgeted = "num_tokens"

    def __init__(
        self,
        backbone: Backbone,
        *,
        grid_size: Count = 4,
        stride: Count = 6,
        num_tokens: Count = 20,
        memory: Count = 4,
        width: Annotated[int, Ge(1), MultipleOfSetting("heads", times=2)] = 128,
        depth: Count = 1,
        heads: Count = 4,
        token_dim: Count | None = None,
        budget: Count | None = None,
    ) -> None:
        if width % (2 * heads):
            raise ValueError(f"width={width} must be a multiple of {2 * heads}, twice heads={heads}.")
        planner = StridePlanner(stride=stride, key_tokens=num_tokens, frame_tokens=0, budget=budget)
        super().__init__(backbone, planner=planner, token_dim=token_dim)
        self.grid_size = check_grid(grid_size, backbone)
        self.memory = memory
        self.embed = FeatureEmbedding(feature_dim=backbone.feature_dim, width=width, cells=grid_size**2)
        self.machine = TokenTuringMachine(width=width, memory=memory, depth=depth, heads=heads)
        self.learner = TokenLearner(width=width, num_tokens=num_tokens)
        self.outward = nn.Linear(width, self.token_dim)

    def extract(self, planned: PlannedFrames) -> dict[str, Tensor]:
        """`grid` (B, K, S, C): the pooled frames in the order of time."""
        return {"grid": self.grids(planned, self.grid_size)}

    def project(self, pooled: dict[str, Tensor], planned: PlannedFrames) -> VideoTokens:
        values = self.embed(pooled["grid"])
        batch, _, cells, width = values.shape
        memory = values.new_zeros(batch * cells, self.memory, width)
        for seen, there in zip(values.unbind(1), planned.mask.unbind(1), strict=True):
            new = self.machine(memory, seen.reshape(batch * cells, 1, width))
            # A clip that has ended keeps its memory.
            memory = torch.where(there.repeat_interleave(cells).view(-1, 1, 1), new, memory)
        tokens = self.outward(self.learner(memory.reshape(batch, cells * self.memory, width)))
        return clip_tokens(tokens, planned, map_size=self.backbone.feature_size)
