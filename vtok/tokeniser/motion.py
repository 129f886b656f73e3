"""Pooling of residual feature maps: the change since the key frame as one vector."""

from abc import ABC, abstractmethod
from typing import Annotated

import torch
from annotated_types import Ge
from torch import Tensor, nn

from vtok.common.setting_types import Count, MultipleOfSetting


class MotionPooling(nn.Module, ABC):
    """Pools residuals to vectors of `width`.

    Args:
        feature_dim: channels of the feature maps.
    """

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


class FramePooling(MotionPooling):
    """The mean over the frame's own map: nothing is subtracted, so a comparison shows what the subtraction gives.

    Layout, number of tokens and weights are those of `MeanPooling`.
    """

    def __init__(self, feature_dim: int) -> None:
        super().__init__()
        self.width = feature_dim

    def forward(self, features: Tensor, key: Tensor) -> Tensor:
        return features.mean((-2, -1))


class GridPooling(MotionPooling):
    """The mean over each cell of a size x size grid, concatenated: one vector a frame that keeps where the change is.

    Args:
        size: number of cells along each side of the residual map.
    """

    def __init__(self, feature_dim: int, *, size: Count = 2) -> None:
        super().__init__()
        self.size = size
        self.width = feature_dim * size**2

    def forward(self, features: Tensor, key: Tensor) -> Tensor:
        pooled = nn.functional.adaptive_avg_pool2d(features.flatten(0, 1), self.size).flatten(1)
        key = nn.functional.adaptive_avg_pool2d(key, self.size).flatten(1)
        return pooled.unflatten(0, features.shape[:2]) - key.unsqueeze(1)


class AttentionPooling(MotionPooling):
    """A weighted mean; the weight of a place depends on its residual and on a learned bias of the place.

    The score of a place is linear in its residual, plus a learned bias from a size x size map that is interpolated to
    the feature map. All weights are equal at first, so training begins with mean pooling.

    Args:
        size: side of the map of learned biases, interpolated to the feature map.
    """

    def __init__(self, feature_dim: int, *, size: Count = 8) -> None:
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


class TransformerPooling(MotionPooling):
    """A small transformer over the residual map, read out at a learned query.

    The residual is pooled to size x size places, each with a learned embedding. The vector is the query's output after
    `depth` layers (pre-norm, GELU, hidden width 4 x width), as in DeltaTok (Kerssies et al. 2026, arXiv 2604.04913),
    whose encoder gets both feature maps instead of their difference.

    Args:
        size: places a side to which the residual map is pooled.
        width: width of the transformer and of the pooled vector.
        depth: number of layers.
        heads: number of attention heads of each layer.
    """

    def __init__(
        self,
        feature_dim: int,
        *,
        size: Count = 8,
        width: Annotated[int, Ge(1), MultipleOfSetting("heads")] = 128,
        depth: Count = 2,
        heads: Count = 4,
    ) -> None:
        super().__init__()
        self.size = size
        self.width = width
        self.inward = nn.Linear(feature_dim, width)
        self.place = nn.Parameter(0.02 * torch.randn(1 + size**2, width))
        self.layers = nn.Sequential(*transformer_layers(width, heads=heads, depth=depth))

    def forward(self, features: Tensor, key: Tensor) -> Tensor:
        pooled = nn.functional.adaptive_avg_pool2d(features.flatten(0, 1), self.size).unflatten(0, features.shape[:2])
        residual = pooled - nn.functional.adaptive_avg_pool2d(key, self.size).unsqueeze(1)
        places = self.inward(residual.flatten(0, 1).flatten(2).transpose(1, 2))
        # The first row is the query, which has no place and no residual.
        tokens = nn.functional.pad(places, (0, 0, 1, 0)) + self.place
        return self.layers(tokens)[:, 0].unflatten(0, features.shape[:2])


def transformer_layers(width: int, *, heads: int, depth: int) -> list[nn.Module]:
    """Layers of a transformer (pre-norm, GELU, hidden width 4 x width), each with its own random weights.

    nn.TransformerEncoder would initialise all layers as copies of one.
    """
    return [
        nn.TransformerEncoderLayer(
            width, heads, 4 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        for _ in range(depth)
    ]
