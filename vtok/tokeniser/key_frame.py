"""Key frames that are chosen by the content of the planned frames."""

import torch
from torch import Tensor

from vtok.tokeniser.planned_frames import PlannedFrames


def choose_key(planned: PlannedFrames, pooled: Tensor | None, rule: str | int) -> Tensor:
    """The key frame's position (B,), chosen by `rule` where the plan has left it open (-1).

    Args:
        planned: the frames.
        pooled: (B, K, C), mean features of the frames; only "medoid" needs them.
        rule: "medoid" or "sharpest"; any other rule means that the plan has already chosen.
    """
    if rule == "medoid":
        assert pooled is not None
        chosen = medoid(pooled, planned.mask)
    elif rule == "sharpest":
        chosen = sharpest(planned.sharpness, planned.mask)
    else:
        return planned.key
    return torch.where(planned.key < 0, chosen, planned.key)


def medoid(pooled: Tensor, mask: Tensor) -> Tensor:
    """The frame (B,) with the least sum of distances to the other frames of its clip; pooled (B, K, C), mask (B, K)."""
    features = pooled.float()
    # For more than 25 frames, cdist's default subtracts large products, and its errors exceed the distances.
    distances = torch.cdist(features, features, compute_mode="donot_use_mm_for_euclid_dist")
    distances = distances.masked_fill(~mask.unsqueeze(1), 0.0).sum(2)
    return distances.masked_fill(~mask, torch.inf).argmin(1)


def sharpest(sharpness: Tensor, mask: Tensor) -> Tensor:
    """The frame (B,) with the greatest sharpness (B, K); mask (B, K)."""
    return sharpness.masked_fill(~mask, -torch.inf).argmax(1)


def key_first(key: Tensor, frames: int) -> Tensor:
    """Positions (B, K): the key frame's first, then the others in temporal order."""
    others = torch.arange(frames - 1, device=key.device).unsqueeze(0)
    return torch.cat([key.unsqueeze(1), others + (others >= key.unsqueeze(1))], dim=1)
