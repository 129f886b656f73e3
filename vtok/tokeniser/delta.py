"""Every frame's change since the frame before it, as in DeltaTok (Kerssies et al. 2026, arXiv 2604.04913)."""

from collections.abc import Callable

import torch
from torch import Tensor

from vtok.backbone import Backbone
from vtok.common.errors import UserError
from vtok.common.setting_types import Count
from vtok.data.plan import FramePlan
from vtok.tokeniser.base import PlannedFrames, pool_grid
from vtok.tokeniser.motion import MeanPooling, MotionPooling
from vtok.tokeniser.vtok import VTokTokeniser


class DeltaTokeniser(VTokTokeniser):
    """VTok with residuals to the PREVIOUS sampled frame instead of the key frame; the key frame is the first.

    Followed of DeltaTok: one continuous token for the difference between the features of two consecutive frames, made
    by a learned query that a transformer reads it with (`motion_pooling=transformer`).

    Different: the encoder sees the difference of the two feature maps, not both side by side; it is trained by what the
    language model makes of the tokens, not by a decoder that reconstructs the features; and the first frame stands in
    full before the changes, in the place of a change since a black frame. Frames follow each other among the sampled
    ones, not in the video.

    Args:
        backbone: frames to feature maps.
        grid_size: the first frame becomes grid_size x grid_size tokens.

    Raises:
        UserError: a stride below 1, or a grid larger than the feature map.
    """

    def __init__(
        self,
        backbone: Backbone,
        *,
        grid_size: Count = 4,
        stride: Count = 6,
        token_dim: Count | None = None,
        motion_pooling: Callable[[int], MotionPooling] = MeanPooling,
        residual_scale: float = 10.0,
        budget: Count | None = None,
    ) -> None:
        super().__init__(
            backbone,
            grid_size=grid_size,
            stride=stride,
            token_dim=token_dim,
            key_frame="first",
            motion_pooling=motion_pooling,
            residual_scale=residual_scale,
            budget=budget,
        )

    def plan(self, num_frames: int, key_frame: int | None = None) -> FramePlan:
        """The frames needed; raises UserError where another key frame than the first is asked for."""
        if key_frame not in (None, 0):
            raise UserError(
                f"key_frame={key_frame}: changes are counted from the first frame on; allowed is 0 or none."
            )
        return super().plan(num_frames)

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
            # A pooling takes frames with one key frame; here every frame has its own.
            later, earlier = maps[:, 1:].flatten(0, 1), maps[:, :-1].flatten(0, 1)
            pooled = self.motion_pooling(later.unsqueeze(1), earlier).squeeze(1)
            changes.append(pooled.unflatten(0, (len(maps), maps.shape[1] - 1)))
        assert grid is not None
        order = torch.arange(planned.mask.shape[1], device=grid.device).expand(len(grid), -1)
        return {"grid": grid, "residual": torch.cat(changes, dim=1), "order": order}
