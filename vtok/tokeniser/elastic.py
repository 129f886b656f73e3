"""One model for many budgets: VTok with a budget that is drawn in training and set in evaluation."""

import math
from collections.abc import Callable, Sequence
from typing import Annotated

from annotated_types import MinLen

from vtok.backbone import Backbone
from vtok.common.setting_types import Count
from vtok.data.plan import ElasticPlanner
from vtok.tokeniser.motion import MeanPooling, MotionPooling
from vtok.tokeniser.planned_frames import PlannedFrames
from vtok.tokeniser.vtok import VTokTokeniser


class ElasticTokeniser(VTokTokeniser):
    """VTok whose budget is drawn for each training batch, so that one checkpoint serves every budget in evaluation.

    budget B:  S = s^2 spatial tokens, the largest s <= `grid_size` with S <= 4/5 B, and M = B - S motion tokens
    grid:      the key frame's feature map, averaged to s x s cells
    motion:    M frames after the first, evenly spaced among those of the budget with the most

    Every budget of 1 or more is kept exactly, until a clip has no more frames. A motion token depends on its frame and
    the key frame alone, and the frames of a budget are some of those of the largest one: so are its motion tokens. A
    coarse grid is an average of the map that a fine grid is an average of.

    The budget of a batch depends on the seed, the epoch and the batch's first clip. It is one for the batch: its clips
    have one grid and, if they are long enough, one length, so that nothing is padded and a step costs what its budget
    costs. Processes draw different budgets, and a step of several takes the time of the largest.

    The idea is that of nested dropout (Rippel et al. 2014, arXiv 1402.0915), of Matryoshka representations (Kusupati et
    al. 2022, arXiv 2205.13147) and of the Matryoshka Query Transformer (Hu et al. 2024, arXiv 2405.19315), which keeps
    the first m of its learned queries, with an m drawn for each step. ElasticTok (Yan et al. 2024, arXiv 2410.08368)
    drops the last tokens of each block of frames. Here nothing orders the tokens by importance: VTok's two kinds are
    both thinned out, evenly in space and in time.

    Args:
        grid_size: the first frame becomes grid_size x grid_size tokens at most.
        num_tokens: number of tokens of a clip in evaluation, whether training draws it or not.
        train_tokens: numbers of tokens that training draws from, all equally likely.
        motion_pooling: how a residual map becomes one vector: a MotionPooling class, or a function from the number of
            feature channels to one.

    Raises:
        UserError: a grid larger than the feature map.
    """

    planner: ElasticPlanner

    budgeted = "num_tokens"
    first_key = True

    def __init__(
        self,
        backbone: Backbone,
        *,
        grid_size: Count = 4,
        num_tokens: Count = 20,
        train_tokens: Annotated[Sequence[Count], MinLen(1)] = (5, 8, 12, 20, 32),
        token_dim: Count | None = None,
        motion_pooling: Callable[[int], MotionPooling] = MeanPooling,
        budget: Count | None = None,
    ) -> None:
        super().__init__(backbone, grid_size=grid_size, token_dim=token_dim, motion_pooling=motion_pooling)
        self.planner = ElasticPlanner.of(
            num_tokens, grid_size=grid_size, train_tokens=tuple(train_tokens), budget=budget
        )

    def key_grid(self, planned: PlannedFrames) -> int:
        return math.isqrt(self.planner.key_tokens if planned.key_tokens is None else planned.key_tokens)
