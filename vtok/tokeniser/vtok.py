"""VTok (Wang et al. 2026, arXiv 2602.04202): one key frame in full, every later sampled frame as one residual token."""

import math
from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor, nn

from vtok.backbone import Backbone
from vtok.common.setting_types import Count
from vtok.data.plan import KeyFrame, StridePlanner
from vtok.tokeniser.base import (
    MOTION,
    SPATIAL,
    Tokeniser,
    VideoTokens,
    cell_places,
    check_grid,
    match_width,
    no_places,
    pool_grid,
)
from vtok.tokeniser.key_frame import choose_key, key_first
from vtok.tokeniser.motion import MeanPooling, MotionPooling
from vtok.tokeniser.planned_frames import PlannedFrames


class SpatialEncoder(nn.Module):
    """The key frame as a grid of tokens (VTok, section 3.2)."""

    def __init__(self, *, feature_dim: int, token_dim: int) -> None:
        super().__init__()
        self.project = match_width(feature_dim, token_dim)

    def forward(self, grid: Tensor) -> Tensor:
        """Pooled key features (B, S, C) -> spatial tokens (B, S, d)."""
        return self.project(grid)


class MotionEncoder(nn.Module):
    """g_phi: one token a frame, what changed since the key frame (VTok, section 3.2, eq. 14)."""

    def __init__(self, *, residual_dim: int, token_dim: int) -> None:
        super().__init__()
        self.project = nn.Sequential(nn.Linear(residual_dim, token_dim), nn.GELU(), nn.Linear(token_dim, token_dim))

    def forward(self, residual: Tensor) -> Tensor:
        """Pooled residuals (B, M, R) -> motion tokens (B, M, d)."""
        return self.project(residual)


class VTokTokeniser(Tokeniser):
    """S spatial tokens of the key frame, then one motion token for every other sampled frame: S + M instead of S x T.

    Args:
        backbone: frames to feature maps.
        grid_size: the key frame becomes grid_size x grid_size tokens.
        stride: clip frames between two sampled frames.
        token_dim: width of the tokens; the backbone's feature_dim where None.
        key_frame: "first" (the paper's), "middle", "medoid", "sharpest" or a clip-frame index; overridable in the call.
        motion_pooling: how a residual map becomes one vector: a MotionPooling class, or a function from the number of
            feature channels to one. The paper uses the mean.
        budget: largest number of tokens of a clip (more are refused); None: any. Commands also take 3GFLOP or 40ms.

    Raises:
        UserError: a stride below 1, an unknown key frame, or a grid larger than the feature map.
    """

    frame_kind = MOTION
    budgeted: ClassVar[str | None] = "stride"

    def __init__(
        self,
        backbone: Backbone,
        *,
        grid_size: Count = 4,
        stride: Count = 6,
        token_dim: Count | None = None,
        key_frame: KeyFrame = "first",
        motion_pooling: Callable[[int], MotionPooling] = MeanPooling,
        budget: Count | None = None,
    ) -> None:
        planner = StridePlanner(
            stride=stride, key_frame=key_frame, key_tokens=grid_size**2, frame_tokens=1, budget=budget
        )
        super().__init__(backbone, planner=planner, token_dim=token_dim)
        self.grid_size = check_grid(grid_size, backbone)
        self.motion_pooling = motion_pooling(backbone.feature_dim)
        self.spatial = SpatialEncoder(feature_dim=backbone.feature_dim, token_dim=self.token_dim)
        self.motion = MotionEncoder(residual_dim=self.motion_pooling.width, token_dim=self.token_dim)

    def extract(self, planned: PlannedFrames) -> dict[str, Tensor]:
        """`grid` (B, S, C): the pooled key frame; `residual` (B, M, R): pooled residuals; `order` (B, K)."""
        frames, rule = planned.mask.shape[1], self.planner.key_frame
        given = planned.pixels if planned.maps is None else planned.maps.maps
        if frames <= self.frames_at_once(given) or rule == "medoid":
            # The medoid needs the features of all frames.
            features = self.features(planned)
            means = features.mean((-2, -1)) if rule == "medoid" else None
            order = key_first(choose_key(planned, means, rule), frames)
            rows = torch.arange(len(order), device=order.device)
            key_map = features[rows, order[:, 0]]
            # Pooled before they are reordered, so that only the key frame's map is copied.
            residual = self.motion_pooling(features, key_map)[rows.unsqueeze(1), order[:, 1:]]
        else:
            order = key_first(choose_key(planned, None, rule), frames)
            key_map = next(self.chunks(planned, order[:, :1]))[:, 0]
            others = self.chunks(planned, order[:, 1:])
            residual = torch.cat([self.motion_pooling(maps, key_map) for maps in others], dim=1)
        return {"grid": pool_grid(key_map, self.key_grid(planned)), "residual": residual, "order": order}

    def key_grid(self, planned: PlannedFrames) -> int:
        """Side of the key frame's grid."""
        return self.grid_size

    def project(self, pooled: dict[str, Tensor], planned: PlannedFrames) -> VideoTokens:
        spatial, motion = self.spatial(pooled["grid"]), self.motion(pooled["residual"])
        return key_frame_tokens(spatial, motion, pooled["order"], planned, map_size=self.backbone.feature_size)


def key_frame_tokens(
    spatial: Tensor, motion: Tensor, order: Tensor, planned: PlannedFrames, *, map_size: int
) -> VideoTokens:
    """The tokens of a key frame's grid (B, S, d) and of all other frames (B, M, d), whose positions are `order`."""
    mask, timestamps = planned.mask.gather(1, order), planned.timestamps.gather(1, order)
    key_tokens, motion_tokens = spatial.shape[1], motion.shape[1]
    grid_size = math.isqrt(key_tokens)
    kind = torch.tensor([SPATIAL] * key_tokens + [MOTION] * motion_tokens)
    return VideoTokens(
        tokens=torch.cat([spatial, motion], dim=1),
        kind=kind.to(spatial.device, non_blocking=True),
        timestamps=torch.cat([timestamps[:, :1].expand(-1, key_tokens), timestamps[:, 1:]], dim=1),
        mask=torch.cat([mask[:, :1].expand(-1, key_tokens), mask[:, 1:]], dim=1),
        places=key_frame_places(grid_size, motion),
        weights=key_frame_weights(grid_size, motion, map_size=map_size),
    )


def key_frame_places(grid_size: int, motion: Tensor) -> Tensor:
    """Places (B, S + M, 2) of a grid and of motion tokens (B, M, d), which represent entire frames."""
    places = torch.cat([cell_places(grid_size, like=motion), no_places(motion.shape[1], like=motion)])
    return places.expand(len(motion), -1, -1)


def key_frame_weights(grid_size: int, motion: Tensor, *, map_size: int) -> Tensor:
    """Weights (B, S + M) of a grid and of motion tokens (B, M, d) that represent entire feature maps."""
    weights = [map_size**2 / grid_size**2] * grid_size**2 + [map_size**2] * motion.shape[1]
    return torch.tensor(weights).to(motion.device, non_blocking=True).expand(len(motion), -1)
