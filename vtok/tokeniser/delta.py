"""Every frame's change since the frame before it, as in DeltaTok (Kerssies et al. 2026, arXiv 2604.04913)."""

from collections.abc import Callable

import torch
from torch import Tensor

from vtok.backbone import Backbone
from vtok.common.setting_types import Count
from vtok.tokeniser.base import pool_grid
from vtok.tokeniser.motion import MeanPooling, MotionPooling
from vtok.tokeniser.planned_frames import PlannedFrames
from vtok.tokeniser.vtok import VTokTokeniser


class DeltaTokeniser(VTokTokeniser):
    """VTok with residuals to the PREVIOUS sampled frame instead of the key frame; the key frame is the first.

    As in DeltaTok, one continuous token represents the difference between the features of two consecutive frames, read
    out at a learned query of a transformer (`motion_pooling=transformer`).

    Unlike DeltaTok, the encoder sees the difference of the two feature maps instead of both side by side; it is trained
    with the language model's loss instead of a reconstruction of the features; and the first frame is kept in full
    before the changes, instead of as a change since a black frame. Consecutive means consecutive sampled frames.

    Args:
        grid_size: the first frame becomes grid_size x grid_size tokens.

    Raises:
        UserError: a stride below 1, or a grid larger than the feature map.
    """

    first_key = True

    def __init__(
        self,
        backbone: Backbone,
        *,
        grid_size: Count = 4,
        stride: Count = 6,
        token_dim: Count | None = None,
        motion_pooling: Callable[[int], MotionPooling] = MeanPooling,
        budget: Count | None = None,
    ) -> None:
        super().__init__(
            backbone,
            grid_size=grid_size,
            stride=stride,
            token_dim=token_dim,
            key_frame="first",
            motion_pooling=motion_pooling,
            budget=budget,
        )

    def extract(self, planned: PlannedFrames) -> dict[str, Tensor]:
        """`grid` (B, S, C): the pooled first frame; `residual` (B, M, R): pooled changes; `order` (B, K)."""
        grid: Tensor | None = None
        last: Tensor | None = None
        changes = []
        for maps in self.chunks(planned):
            if grid is None or last is None:
                grid = pool_grid(maps[:, 0], self.grid_size)
            else:
                maps = torch.cat([last, maps], dim=1)
            last = maps[:, -1:]
            # A pooling takes many frames with one key frame; here every frame has its own.
            later, earlier = maps[:, 1:].flatten(0, 1), maps[:, :-1].flatten(0, 1)
            pooled = self.motion_pooling(later.unsqueeze(1), earlier).squeeze(1)
            changes.append(pooled.unflatten(0, (len(maps), maps.shape[1] - 1)))
        assert grid is not None
        order = torch.arange(planned.mask.shape[1], device=grid.device).expand(len(grid), -1)
        return {"grid": grid, "residual": torch.cat(changes, dim=1), "order": order}
