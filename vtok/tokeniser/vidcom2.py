"""VidCom2 (Liu et al. 2025, arXiv 2505.14454): more tokens for unusual frames, and their unusual patches."""

import torch
from torch import Tensor
from torch.nn import functional as F

from vtok.backbone import Backbone
from vtok.common.setting_types import Count, Positive
from vtok.tokeniser.patches import Patches, PatchTokeniser
from vtok.tokeniser.planned_frames import PlannedFrames
from vtok.tokeniser.selection import keep_best, ranks

# Widths of the Gaussians (the public code's): squared distances of normalised features are between 0 and 4.
WIDTHS = (1 / 8, 1 / 4, 1 / 2, 1, 2)


class VidCom2Tokeniser(PatchTokeniser):
    """The patches that are least like the mean of the video and of their frame; unusual frames have more of them.

    f[t, p]: features without the half of the channels that varies most over the clip, normalised to length 1
    like(f, m) = sum over a in {1/8, 1/4, 1/2, 1, 2} of exp(-|f - m|^2 / 2a)
    v[t, p] = like(f[t, p], mean over the video),  w[t, p] = like(f[t, p], mean over frame t)
    s = softmax over frames of (-mean over p of v[t, p]) / temperature
    quota of frame t = num_tokens / K * (1 + s[t] - 1 / K),  filled with the patches of the least v + w

    The choice of channels, the widths and the temperature are those of the public code. It rounds each quota, to one
    token or more a frame, so that their sum is not exact. Here quotas become whole numbers by the method of
    Sainte-Lague, which rounds to the nearest with a common divisor for which the sum is `num_tokens`: the patch of rank
    j (from 0) in its frame has priority quota / (j + 1/2), and the highest priorities are kept. If there are more
    frames than tokens, some frames have none.

    Args:
        temperature: temperature of the softmax; a large one gives all frames the same quota.

    Raises:
        UserError: a stride below 1, or a grid larger than the feature map.
    """

    def __init__(
        self,
        backbone: Backbone,
        *,
        grid_size: Count | None = None,
        stride: Count = 6,
        num_tokens: Count = 20,
        temperature: Positive = 0.01,
        token_dim: Count | None = None,
        budget: Count | None = None,
    ) -> None:
        super().__init__(
            backbone, grid_size=grid_size, stride=stride, num_tokens=num_tokens, token_dim=token_dim, budget=budget
        )
        self.temperature = temperature

    def assign(self, patches: Patches, planned: PlannedFrames) -> Tensor:
        mask = patches.mask
        features = F.normalize(steady_channels(patches).unflatten(1, patches.features.shape[1:3]), dim=3)
        frames = mask.sum(1, keepdim=True)
        centre = features.mean(2, keepdim=True)
        # All frames have the same number of patches.
        there = mask[..., None, None]
        video = (centre * there).sum(1, keepdim=True) / frames[..., None, None]
        to_video, to_frame = similarity(features, video), similarity(features, centre)
        unusual = (-to_video.mean(2) / self.temperature).masked_fill(~mask, -torch.inf).softmax(1)
        quota = patches.wanted.unsqueeze(1) / frames * (1 + unusual - 1 / frames)
        priority = quota.unsqueeze(2) / (ranks(-(to_video + to_frame)) + 0.5)
        return keep_best(priority.flatten(1), patches.there, patches.wanted)


def steady_channels(patches: Patches) -> Tensor:
    """The features (B, P, C // 2) of the half of each clip's channels that varies least over its patches."""
    there = patches.there.unsqueeze(2)
    number = there.sum(1, keepdim=True)
    mean = (patches.flat * there).sum(1, keepdim=True) / number
    variance = ((patches.flat - mean).square() * there).sum(1, keepdim=True) / number
    half = max(1, variance.shape[2] // 2)
    chosen = variance.argsort(dim=2, stable=True)[..., :half]
    return patches.flat.gather(2, chosen.expand(-1, patches.flat.shape[1], -1))


def similarity(features: Tensor, centre: Tensor) -> Tensor:
    """Sum of Gaussians (B, K, S) of the distances of features (B, K, S, C) to centres that broadcast with them."""
    distance = (features - centre).square().sum(3)
    return torch.stack([torch.exp(-distance / (2 * width)) for width in WIDTHS]).sum(0)
