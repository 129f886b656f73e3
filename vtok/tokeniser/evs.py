"""Efficient Video Sampling (EVS, Bagrov et al. 2025, arXiv 2510.14624): patches that differ from the frame before."""

import torch
from torch import Tensor
from torch.nn import functional as F

from vtok.backbone import Backbone
from vtok.common.errors import UserError
from vtok.common.setting_types import Count
from vtok.tokeniser.patches import Patches, PatchTokeniser
from vtok.tokeniser.planned_frames import PlannedFrames
from vtok.tokeniser.selection import keep_best


class EvsTokeniser(PatchTokeniser):
    """All patches of the first frame, then the patches of later frames that differ most from the frame before (EVS).

    score of place p in frame t:  1 - cos(f[t, p], f[t - 1, p])
    kept:                         all of frame 0, and the `num_tokens` - S highest scores of all later frames together

    As in the paper and its public code (of vLLM and SGLang), the scores compete over the clip, so that a frame in which
    nothing changes has no token, and kept patches keep their order and places. Unlike there, patches are by default the
    cells of a grid, so that the first frame leaves something of a small budget, and the number of tokens is set instead
    of the share that is pruned.

    Args:
        grid_size: every sampled frame is pooled to S = grid_size x grid_size patches; None: the places of the feature
            map.
        num_tokens: number of tokens of a clip, S or more; a clip with fewer patches keeps all.

    Raises:
        UserError: a stride below 1, a grid larger than the feature map, or fewer tokens than patches of a frame.
    """

    def __init__(
        self,
        backbone: Backbone,
        *,
        grid_size: Count | None = 4,
        stride: Count = 6,
        num_tokens: Count = 20,
        token_dim: Count | None = None,
        budget: Count | None = None,
    ) -> None:
        super().__init__(
            backbone, grid_size=grid_size, stride=stride, num_tokens=num_tokens, token_dim=token_dim, budget=budget
        )
        if num_tokens < self.grid_size**2:
            raise UserError(
                f"tokeniser.num_tokens={num_tokens} is fewer than the {self.grid_size**2} patches of the first frame. "
                f"Use {self.grid_size**2} or more, or set a smaller tokeniser.grid_size."
            )

    def assign(self, patches: Patches, planned: PlannedFrames) -> Tensor:
        features = patches.features
        scores = 1 - F.cosine_similarity(features[:, 1:], features[:, :-1], dim=3)
        first = torch.full_like(features[:, :1, :, 0], torch.inf)
        return keep_best(torch.cat([first, scores], dim=1).flatten(1), patches.there, patches.wanted)
