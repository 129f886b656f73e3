"""Tokens that represent the full clip: they have no place, and the mean of the frames' times."""

import torch
from torch import Tensor

from vtok.tokeniser.base import SPATIAL, VideoTokens, no_places
from vtok.tokeniser.planned_frames import PlannedFrames


def clip_tokens(tokens: Tensor, planned: PlannedFrames, *, map_size: int) -> VideoTokens:
    """Tokens (B, k, d), none of them padding, that were each made from all frames of their clip.

    Args:
        tokens: the tokens.
        planned: the frames.
        map_size: places a side of the backbone's feature map; a token's weight is all places of the clip's frames.
    """
    there = planned.mask.to(planned.timestamps.dtype)
    frames = there.sum(1, keepdim=True)
    middle = (planned.timestamps * there).sum(1, keepdim=True) / frames
    number = tokens.shape[1]
    return VideoTokens(
        tokens=tokens,
        kind=torch.full((number,), SPATIAL, device=tokens.device),
        timestamps=middle.expand(-1, number),
        mask=torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device),
        places=no_places(number, like=tokens).expand(len(tokens), -1, -1),
        weights=(map_size**2 * frames).expand(-1, number),
    )
