"""Motion vectors of the video codec, as in Video-LaVIT (Jin et al. 2024, arXiv 2402.03161): only the key frame is
encoded."""

import torch
from torch import Tensor

from vtok.backbone import Backbone
from vtok.common.errors import UserError
from vtok.common.setting_types import Count
from vtok.data.plan import CodecMotionPlanner
from vtok.tokeniser.base import MOTION, Tokeniser, VideoTokens, check_grid, pool_grid
from vtok.tokeniser.planned_frames import PlannedFrames
from vtok.tokeniser.vtok import MotionEncoder, SpatialEncoder, key_frame_tokens


class CodecMotionTokeniser(Tokeniser):
    """The first frame as a grid, every later sampled frame as one token of the codec's motion vectors since the last.

    As in Video-LaVIT, a key frame shows the scene and the motion vectors in the file show how it moves, so that no
    other frame goes through the backbone. Unlike Video-LaVIT, a token is continuous and represents one sampled frame
    (g_phi of VTok on a grid of motion), where Video-LaVIT quantises the vectors of several frames into discrete tokens;
    the vectors are those of the original file, summed between sampled frames, not of a re-encoded file; and a clip has
    one key frame.

    Clips without motion vectors (folders of images, VP9, AV1, HEVC) count as broken. Videos that are not files, such as
    generated ones, cannot be tokenised.

    Args:
        grid_size: the first frame becomes grid_size x grid_size tokens.
        stride: clip frames between two sampled frames.
        motion_grid: a frame's motion vectors are averaged over motion_grid x motion_grid cells.

    Raises:
        UserError: a stride below 1, or a grid larger than the feature map.
    """

    frame_kind = MOTION
    budgeted = "stride"
    needs_files = True
    first_key = True

    def __init__(
        self,
        backbone: Backbone,
        *,
        grid_size: Count = 4,
        stride: Count = 6,
        motion_grid: Count = 8,
        token_dim: Count | None = None,
        budget: Count | None = None,
    ) -> None:
        planner = CodecMotionPlanner(
            stride=stride, key_tokens=grid_size**2, frame_tokens=1, budget=budget, vector_grid=motion_grid
        )
        super().__init__(backbone, planner=planner, token_dim=token_dim)
        self.grid_size = check_grid(grid_size, backbone)
        self.spatial = SpatialEncoder(feature_dim=backbone.feature_dim, token_dim=self.token_dim)
        self.motion = MotionEncoder(residual_dim=3 * motion_grid**2, token_dim=self.token_dim)

    def num_encoded(self, num_planned: int) -> int:
        """The first frame alone; of the others only the motion vectors are read."""
        return min(1, num_planned)

    def extract(self, planned: PlannedFrames) -> dict[str, Tensor]:
        """`grid` (B, S, C): the pooled first frame; `motion` (B, M, 3 * g * g); `order` (B, K).

        Raises:
            UserError: the frames have no motion vectors.
        """
        if planned.vectors is None:
            raise UserError(
                "tokeniser=codec_motion: this video has no motion vectors, because it was not read from a file by the "
                "tokeniser's plan. Read it with vtok.data.FrameReader, or use another tokeniser."
            )
        batch, frames = planned.mask.shape
        return {
            "grid": pool_grid(self.backbone(planned.pixels[:, 0]).float(), self.grid_size),
            "motion": planned.vectors[:, 1:].flatten(2),
            "order": torch.arange(frames, device=planned.mask.device).expand(batch, -1),
        }

    def project(self, pooled: dict[str, Tensor], planned: PlannedFrames) -> VideoTokens:
        spatial, motion = self.spatial(pooled["grid"]), self.motion(pooled["motion"])
        return key_frame_tokens(spatial, motion, pooled["order"], planned, map_size=self.backbone.feature_size)
