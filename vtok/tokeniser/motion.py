"""How the change of a whole feature map since the key frame becomes one vector."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn


class MotionPooling(nn.Module, ABC):
    """Pools residuals to vectors of `width`; made for maps of `feature_dim` channels."""

    width: int

    @abstractmethod
    def forward(self, features: Tensor, key: Tensor) -> Tensor:
        """Feature maps (B, M, C, h, w) and the key frame's (B, C, h, w) -> pooled residuals (B, M, width)."""


class MeanPooling(MotionPooling):
    """The mean over the map (VTok, eq. 14). Blind to where the motion is, unless positions are in the features.

    Pooling is linear, so the maps are pooled before they are subtracted and no residual map is kept.
    """

    def __init__(self, feature_dim: int) -> None:
        super().__init__()
        self.width = feature_dim

    def forward(self, features: Tensor, key: Tensor) -> Tensor:
        return features.mean((-2, -1)) - key.mean((-2, -1)).unsqueeze(1)


class GridPooling(MotionPooling):
    """The mean over each cell of a size x size grid, side by side: still one vector a frame, but it knows where."""

    def __init__(self, feature_dim: int, *, size: int = 2) -> None:
        super().__init__()
        self.size = size
        self.width = feature_dim * size**2

    def forward(self, features: Tensor, key: Tensor) -> Tensor:
        pooled = nn.functional.adaptive_avg_pool2d(features.flatten(0, 1), self.size).flatten(1)
        key = nn.functional.adaptive_avg_pool2d(key, self.size).flatten(1)
        return pooled.unflatten(0, features.shape[:2]) - key.unsqueeze(1)


class AttentionPooling(MotionPooling):
    """A learned weight for each place of the residual map, from the residual itself and the place.

    The score of a place is linear in its residual, plus a learned bias a place of a size x size map that is stretched
    to the features' map. At the start all weights are equal, so training begins with mean pooling.
    """

    def __init__(self, feature_dim: int, *, size: int = 8) -> None:
        super().__init__()
        self.width = feature_dim
        self.score = nn.Linear(feature_dim, 1)
        self.place = nn.Parameter(torch.zeros(1, 1, size, size))
        nn.init.zeros_(self.score.weight)
        nn.init.zeros_(self.score.bias)

    def forward(self, features: Tensor, key: Tensor) -> Tensor:
        residual = (features - key.unsqueeze(1)).flatten(3).transpose(2, 3)
        place = nn.functional.interpolate(self.place, size=features.shape[-2:], mode="bilinear", align_corners=False)
        weights = (self.score(residual).squeeze(-1) + place.flatten()).softmax(-1)
        return torch.einsum("bmp,bmpc->bmc", weights, residual)
