"""The baselines: a few frames in full, or the key frame alone."""

import torch
from torch import Tensor

from vtok.backbone import Backbone
from vtok.common.setting_types import Count
from vtok.data.plan import KeyFrame, KeyFramePlanner, StridePlanner
from vtok.tokeniser.base import SPATIAL, Tokeniser, VideoTokens, cell_places, check_grid, match_width, pool_grid
from vtok.tokeniser.key_frame import choose_key
from vtok.tokeniser.planned_frames import PlannedFrames
from vtok.tokeniser.vtok import MotionEncoder


class FrameSamplingTokeniser(Tokeniser):
    """The naive baseline: the same grid of every sampled frame, S x K tokens (VTok, section 3.1).

    Args:
        grid_size: every sampled frame becomes grid_size x grid_size tokens.
        stride: clip frames between two sampled frames.
        mlp: whether the tokens are made by the two-layer network of VTok's motion tokens, so that both have the same
            trained parts; otherwise by a projection where the widths differ.

    Raises:
        UserError: a stride below 1, or a grid larger than the feature map.
    """

    budgeted = "stride"

    def __init__(
        self,
        backbone: Backbone,
        *,
        grid_size: Count = 2,
        stride: Count = 6,
        mlp: bool = False,
        token_dim: Count | None = None,
        budget: Count | None = None,
    ) -> None:
        planner = StridePlanner(stride=stride, key_tokens=grid_size**2, frame_tokens=grid_size**2, budget=budget)
        super().__init__(backbone, planner=planner, token_dim=token_dim)
        self.grid_size = check_grid(grid_size, backbone)
        self.spatial = (
            MotionEncoder(residual_dim=backbone.feature_dim, token_dim=self.token_dim)
            if mlp
            else match_width(backbone.feature_dim, self.token_dim)
        )

    def extract(self, planned: PlannedFrames) -> dict[str, Tensor]:
        """`grid` (B, K, S, C): the pooled frames in temporal order."""
        return {"grid": self.grids(planned, self.grid_size)}

    def project(self, pooled: dict[str, Tensor], planned: PlannedFrames) -> VideoTokens:
        tokens = self.spatial(pooled["grid"]).flatten(1, 2)
        cells = self.grid_size**2
        return VideoTokens(
            tokens=tokens,
            kind=torch.full((tokens.shape[1],), SPATIAL, device=tokens.device),
            timestamps=planned.timestamps.repeat_interleave(cells, dim=1),
            mask=planned.mask.repeat_interleave(cells, dim=1),
            places=cell_places(self.grid_size, like=tokens).repeat(*planned.mask.shape, 1),
            weights=torch.full(tokens.shape[:2], self.backbone.feature_size**2 / cells, device=tokens.device),
        )


class KeyFrameTokeniser(Tokeniser):
    """The key frame alone, S tokens: what can be known without motion.

    Args:
        grid_size: the key frame becomes grid_size x grid_size tokens.
        stride: clip frames between the frames among which "medoid" and "sharpest" choose.
        key_frame: "first", "middle", "medoid", "sharpest" or a clip-frame index.

    Raises:
        UserError: a stride below 1, an unknown key frame, or a grid larger than the feature map.
    """

    budgeted = "grid_size"

    def __init__(
        self,
        backbone: Backbone,
        *,
        grid_size: Count = 4,
        stride: Count = 6,
        token_dim: Count | None = None,
        key_frame: KeyFrame = "first",
        budget: Count | None = None,
    ) -> None:
        planner = KeyFramePlanner(stride=stride, key_frame=key_frame, key_tokens=grid_size**2, budget=budget)
        super().__init__(backbone, planner=planner, token_dim=token_dim)
        self.grid_size = check_grid(grid_size, backbone)
        self.spatial = match_width(backbone.feature_dim, self.token_dim)

    def extract(self, planned: PlannedFrames) -> dict[str, Tensor]:
        """`grid` (B, S, C): the pooled key frame; `order` (B, 1): its position."""
        features = self.features(planned)
        key = choose_key(planned, features.mean((-2, -1)), self.planner.key_frame)
        key_map = features[torch.arange(len(key), device=key.device), key]
        return {"grid": pool_grid(key_map, self.grid_size), "order": key.unsqueeze(1)}

    def project(self, pooled: dict[str, Tensor], planned: PlannedFrames) -> VideoTokens:
        tokens = self.spatial(pooled["grid"])
        cells = tokens.shape[1]
        return VideoTokens(
            tokens=tokens,
            kind=torch.full((cells,), SPATIAL, device=tokens.device),
            timestamps=planned.timestamps.gather(1, pooled["order"]).expand(-1, cells),
            mask=planned.mask.gather(1, pooled["order"]).expand(-1, cells),
            places=cell_places(self.grid_size, like=tokens).expand(len(tokens), -1, -1),
            weights=torch.full(tokens.shape[:2], self.backbone.feature_size**2 / cells, device=tokens.device),
        )
