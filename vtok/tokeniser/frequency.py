"""Temporal frequencies of residuals, in the style of Fre-Res (Feng et al. 2026, arXiv 2605.16366)."""

import math

import torch
from torch import Tensor

from vtok.backbone import Backbone
from vtok.common.errors import UserError
from vtok.common.setting_types import Count
from vtok.data.plan import CappedPlanner
from vtok.tokeniser.base import MOTION, Tokeniser, VideoTokens, check_grid
from vtok.tokeniser.planned_frames import PlannedFrames
from vtok.tokeniser.vtok import MotionEncoder, SpatialEncoder, key_frame_places


class FrequencyTokeniser(Tokeniser):
    """The first frame (the anchor) in full, with the low temporal frequencies of its places' changes added to them.

    r[t, p] = f[t, p] - f[t - 1, p]                        changes of place p, t = 1 .. M
    D[n, p] = sum over t of c_n cos(pi n (t - 1/2) / M) r[t, p]            orthonormal DCT-II over time
    anchor token p:     spatial(f[0, p]) + absorb(D[0, p], ..., D[N - 1, p])             N = `absorbed`
    frequency token n:  g(mean over p of D[n, p])                               n = 0 .. `num_tokens` - S - 1

    Fre-Res keeps anchors in full, applies a temporal DCT to the changes between frames, has residual-frequency tokens,
    and adds changes to the anchor tokens of the same place by a "Spatial-Guided Absorber". That much is in its
    abstract; the body of the paper was not at hand. So the formulas above are an interpretation: `absorb` and `g` are
    the two-layer networks of VTok's motion tokens, a clip has one anchor, and a frequency token represents the mean of
    the places.
    With `num_tokens` = S all that is known of later frames is in the anchor's places.

    A clip of few frames has M frequencies at most, and as many frequency tokens; those that it lacks are absorbed as
    zeros. A frequency token represents all frames after the first: its timestamp is their mean, its weight all their
    places.

    Args:
        grid_size: the first frame becomes S = grid_size x grid_size tokens.
        stride: clip frames between two sampled frames.
        num_tokens: number of tokens of a clip, S or more; a clip of few frames has S + M.
        absorbed: number of frequencies that are added to the first frame's tokens.

    Raises:
        UserError: a stride below 1, a grid larger than the feature map, or fewer tokens than places of a frame.
    """

    frame_kind = MOTION
    budgeted = "num_tokens"
    first_key = True

    def __init__(
        self,
        backbone: Backbone,
        *,
        grid_size: Count = 4,
        stride: Count = 6,
        num_tokens: Count = 20,
        absorbed: Count = 4,
        token_dim: Count | None = None,
        budget: Count | None = None,
    ) -> None:
        places = grid_size**2
        planner = CappedPlanner(stride=stride, key_tokens=places, frame_tokens=1, most_tokens=num_tokens, budget=budget)
        super().__init__(backbone, planner=planner, token_dim=token_dim)
        self.grid_size = check_grid(grid_size, backbone)
        if num_tokens < places:
            raise UserError(
                f"tokeniser.num_tokens={num_tokens} is fewer than the {places} places of the first frame. "
                f"Use {places} or more, or set a smaller tokeniser.grid_size."
            )
        self.absorbed = absorbed
        self.spatial = SpatialEncoder(feature_dim=backbone.feature_dim, token_dim=self.token_dim)
        self.absorb = MotionEncoder(residual_dim=absorbed * backbone.feature_dim, token_dim=self.token_dim)
        self.motion = (
            MotionEncoder(residual_dim=backbone.feature_dim, token_dim=self.token_dim) if num_tokens > places else None
        )

    def extract(self, planned: PlannedFrames) -> dict[str, Tensor]:
        """`grid` (B, K, S, C): the pooled frames in the order of time."""
        return {"grid": self.grids(planned, self.grid_size)}

    def project(self, pooled: dict[str, Tensor], planned: PlannedFrames) -> VideoTokens:
        grid, later = pooled["grid"], planned.mask[:, 1:]
        frequency_tokens = self.planner.num_tokens(grid.shape[1]) - self.grid_size**2
        basis = cosines(later, max(self.absorbed, frequency_tokens)).to(grid.dtype)
        spectrum = torch.einsum("bnt,btsc->bnsc", basis, grid[:, 1:] - grid[:, :-1])
        absorbed = spectrum[:, : self.absorbed].transpose(1, 2).flatten(2)
        spatial = self.spatial(grid[:, 0]) + self.absorb(absorbed)
        tokens = [spatial]
        if self.motion is not None:
            tokens.append(self.motion(spectrum[:, :frequency_tokens].mean(2)))
        key_tokens = spatial.shape[1]
        there = torch.arange(frequency_tokens, device=grid.device) < later.sum(1, keepdim=True)
        count = later.sum(1, keepdim=True).to(planned.timestamps.dtype)
        middle = (planned.timestamps[:, 1:] * later).sum(1, keepdim=True) / count.clamp(min=1)
        places = self.backbone.feature_size**2
        result = torch.cat(tokens, dim=1)
        return VideoTokens(
            tokens=result,
            kind=self.kinds(grid.shape[1]).to(grid.device, non_blocking=True),
            timestamps=torch.cat(
                [planned.timestamps[:, :1].expand(-1, key_tokens), middle.expand(-1, frequency_tokens)], dim=1
            ),
            mask=torch.cat([planned.mask[:, :1].expand(-1, key_tokens), there], dim=1),
            places=key_frame_places(self.grid_size, result[:, key_tokens:]),
            weights=torch.cat(
                [
                    torch.full_like(count, places / key_tokens).expand(-1, key_tokens),
                    (places * count).expand(-1, frequency_tokens),
                ],
                dim=1,
            ),
        )


def cosines(there: Tensor, number: int) -> Tensor:
    """The first `number` rows (B, number, T) of the orthonormal DCT-II of each clip's own length, up to T.

    Args:
        there: (B, T), True for the frames of a clip, which come before its padding.
        number: number of frequencies; those that a clip is too short for are zeros.
    """
    time = torch.arange(there.shape[1], device=there.device)
    frequency = torch.arange(number, device=there.device).view(-1, 1)
    length = there.sum(1).view(-1, 1, 1)
    some = length.clamp(min=1)
    waves = torch.cos(math.pi * frequency * (time + 0.5) / some) * (2 / some).sqrt()
    waves = torch.where(frequency == 0, waves / math.sqrt(2), waves)
    return waves * ((time < length) & (frequency < length))
