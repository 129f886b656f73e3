"""A small convolutional backbone, trained from scratch together with the rest of the model."""

from collections.abc import Mapping
from typing import Annotated, Any

import torch
from annotated_types import Ge, MultipleOf
from torch import Tensor, nn

from vtok.backbone.base import Backbone, FeatureShape
from vtok.common.errors import UserError
from vtok.common.setting_types import Count

STRIDE = 8
NORM_GROUPS = 8


class TinyBackbone(Backbone):
    """Four 3x3 convolutions with a total stride of 8, the last of which also reads coordinates, and a 1x1 convolution.

    A convolution gives a shape the same feature everywhere. In a mean-pooled residual the feature at the old position
    and the one at the new position would cancel. With x and y as channels (Liu et al. 2018, arXiv 1807.03247), features
    depend on their position, and the residual shows the motion. They come late: at the first convolution they would be
    most of what it sees, and shapes would be learnt late.

    Args:
        feature_dim: number of channels of the feature map.
        image_size: side of the images in pixels, a multiple of 8.
        width: number of channels after the first convolution; the next two have twice as many, the last one three
            times. A multiple of 8.
        frozen: whether the random weights are not trained.

    Raises:
        UserError: `image_size` or `width` is not a positive multiple of 8.
    """

    coordinates: Tensor

    def __init__(
        self,
        *,
        feature_dim: Count = 96,
        image_size: Annotated[int, MultipleOf(STRIDE), Ge(STRIDE)] = 64,
        width: Annotated[int, MultipleOf(NORM_GROUPS), Ge(NORM_GROUPS)] = 32,
        frozen: bool = False,
        map_size: Count | None = None,
    ) -> None:
        for name, value, step in (("image_size", image_size, STRIDE), ("width", width, NORM_GROUPS)):
            if value < step or value % step:
                raise UserError(
                    f"backbone.{name}={value} does not suit the tiny backbone. Use a positive multiple of {step}."
                )
        super().__init__(
            feature_dim=feature_dim,
            image_size=image_size,
            stride=STRIDE,
            mean=(0.5, 0.5, 0.5),
            std=(0.5, 0.5, 0.5),
            map_size=map_size,
        )
        self.layers = nn.Sequential(
            *convolution(3, width, stride=2),
            *convolution(width, 2 * width, stride=2),
            *convolution(2 * width, 2 * width, stride=2),
        )
        self.placed = nn.Sequential(
            *convolution(2 * width + 2, 3 * width, stride=1),
            nn.Conv2d(3 * width, feature_dim, kernel_size=1),
        )
        # Where the weights are made. `with torch.device(...)` alone overlooks linspace if it was first used while
        # transformers, which replaces linspace for a while, loaded a model.
        axis = torch.linspace(-1, 1, image_size // STRIDE, device=next(self.layers.parameters()).device)
        y, x = torch.meshgrid(axis, axis, indexing="ij")
        self.register_buffer("coordinates", torch.stack((x, y)), persistent=False)
        for part in (self.layers, self.placed):
            part.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.set_frozen(frozen)

    @classmethod
    def feature_shape(cls, settings: Mapping[str, Any]) -> FeatureShape | None:
        size = settings.get("map_size") or settings["image_size"] // STRIDE
        return FeatureShape(channels=settings["feature_dim"], size=size)

    def feature_map(self, images: Tensor) -> Tensor:
        """Normalised images (N, 3, S, S) -> (N, feature_dim, S / 8, S / 8)."""
        # Convolutions on a CPU are 1.7 times as fast on this layout.
        features = self.layers(images.contiguous(memory_format=torch.channels_last))
        coordinates = self.coordinates.to(features.dtype).expand(len(images), -1, -1, -1)
        return self.placed(torch.cat((features, coordinates), dim=1))


def convolution(in_channels: int, out_channels: int, *, stride: int) -> tuple[nn.Module, ...]:
    """A 3x3 convolution, its normalisation and its activation."""
    return (
        nn.Conv2d(in_channels, out_channels, kernel_size=3, stride=stride, padding=1),
        nn.GroupNorm(NORM_GROUPS, out_channels),
        nn.GELU(),
    )
