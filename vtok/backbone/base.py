"""The contract of all backbones: frames in, a square feature map out."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vtok.backbone.attention import feature_attention
from vtok.common.errors import UserError


@dataclass(frozen=True)
class FeatureShape:
    """The shape of a feature map.

    Attributes:
        channels: number of channels C.
        size: side h = w.
        depth: see `Backbone.depth`; None: not known.
    """

    channels: int
    size: int
    depth: int | None = None


class Backbone(nn.Module, ABC):
    """Turns frames into feature maps, with its own normalisation and one flag that freezes it.

    A subclass builds its layers, ends its constructor with `self.set_frozen(frozen)` and implements `feature_map`.

    Args:
        feature_dim: number of channels C of the feature map.
        image_size: side in pixels of the square images that the network takes.
        stride: distance between two neighbours of the feature map, in pixels of the image.
        mean: mean of the red, green and blue values in [0, 1] of the network's training images.
        std: their standard deviation.
        map_size: side to which the feature map is averaged; None: it stays as the network gives it.

    Attributes:
        frozen: whether no weight is trained.
        depth: number of transformer layers below the feature map, which is `hidden_states[depth]`; None: not known, or
            not a vision transformer.

    Raises:
        UserError: `map_size` exceeds the network's own.
    """

    # Whether there is a network, whose weights are random where `weights` is null.
    has_weights: ClassVar[bool] = True

    frozen: bool
    depth: int | None = None
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        *,
        feature_dim: int,
        image_size: int,
        stride: int,
        mean: Sequence[float],
        std: Sequence[float],
        map_size: int | None = None,
    ) -> None:
        super().__init__()
        self.feature_dim = feature_dim
        self.image_size = image_size
        self.stride = stride
        if map_size is not None and not 1 <= map_size <= self.own_map_size:
            raise UserError(
                f"backbone.map_size={map_size}: the network's own feature map has {self.own_map_size} places a side. "
                f"Use 1 to {self.own_map_size}, or null."
            )
        self.map_size = map_size
        # Not persistent: the state dict holds only the network's own keys.
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)

    @classmethod
    def feature_shape(cls, settings: Mapping[str, Any]) -> FeatureShape | None:
        """The shape of the feature map of a backbone with these settings; None: it depends on the weights.

        Args:
            settings: arguments of the constructor, by name.
        """
        return None

    @property
    def feature_size(self) -> int:
        """Side h = w of the feature map."""
        return self.own_map_size if self.map_size is None else self.map_size

    @property
    def own_map_size(self) -> int:
        """Side of the feature map before it is averaged to `map_size`."""
        return self.image_size // self.stride

    @abstractmethod
    def feature_map(self, images: Tensor) -> Tensor:
        """Normalised float32 images (N, 3, image_size, image_size) -> (N, feature_dim, own_map_size, own_map_size)."""

    def averaged(self, maps: Tensor) -> Tensor:
        """Maps (N, C, h, w) averaged to (N, C, feature_size, feature_size)."""
        return maps if maps.shape[-1] == self.feature_size else F.adaptive_avg_pool2d(maps, self.feature_size)

    def set_frozen(self, frozen: bool) -> None:
        """Freeze all parameters (no gradient, always in eval mode), or train them."""
        self.frozen = frozen
        self.requires_grad_(not frozen)
        self.train(not frozen)

    def train(self, mode: bool = True) -> "Backbone":
        """Set the training mode; a frozen backbone stays in eval mode."""
        super().train(mode and not self.frozen)
        return self

    def forward(self, frames: Tensor, *, average: bool = True) -> Tensor:
        """Encode frames of any size.

        Frames of other sizes are resized until the short side is `image_size`, then cropped in the centre.

        Args:
            frames: (N, 3, H, W), uint8 in 0..255 or floating point in 0..1.
            average: whether the feature map is averaged to `map_size`.

        Returns:
            (N, feature_dim, feature_size, feature_size), or own_map_size if it is not averaged;
            a frozen backbone gives no gradient.

        Raises:
            ValueError: the shape is not (N, 3, H, W).
            TypeError: the frames are neither uint8 nor floating point.
        """
        if frames.ndim != 4 or frames.shape[1] != 3:
            raise ValueError(f"a backbone takes frames of shape (N, 3, H, W), not {tuple(frames.shape)}")
        # no_grad, not inference_mode: the trained layers that follow need the features in their graph.
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            images = resize_and_crop(to_unit_range(frames), self.image_size)
            maps = self.feature_map((images - self.mean) / self.std)
            return self.averaged(maps) if average else maps

    def attend(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """The feature maps of frames, and the attention that each place receives in the layer that gives them.

        Of a network without attention layers it is `vtok.backbone.attention.feature_attention`: that of the features
        themselves.

        Args:
            frames: as for `forward`.

        Returns:
            (N, feature_dim, feature_size, feature_size) and (N, feature_size, feature_size), 0 or more.
        """
        maps = self(frames, average=False)
        return self.averaged(maps), self.averaged_attention(feature_attention(maps))

    def averaged_attention(self, attention: Tensor) -> Tensor:
        """Attention (N, h, w) averaged to (N, feature_size, feature_size), as maps are."""
        return self.averaged(attention.unsqueeze(1)).squeeze(1)


def to_unit_range(frames: Tensor) -> Tensor:
    """uint8 in 0..255 or floating point in 0..1 -> float32 in 0..1."""
    if frames.dtype == torch.uint8:
        return frames.float() / 255
    if frames.is_floating_point():
        return frames.float()
    raise TypeError(f"frames must be uint8 in 0..255 or floating point in 0..1, not {frames.dtype}")


def resize_and_crop(images: Tensor, size: int) -> Tensor:
    """Resize images (N, 3, H, W) in 0..1 until the short side is `size`, then crop the centre to (N, 3, size, size).

    The resampling is PIL's in CLIP's image processor: bicubic with antialiasing, first the columns, then the rows,
    clamped after each. PIL also rounds to 8 bits after each, so the results differ by up to 2 levels of 255. Images
    that already have the size are returned unchanged.
    """
    height, width = images.shape[-2:]
    if (height, width) == (size, size):
        return images
    short = min(height, width)
    scaled_height, scaled_width = size * height // short, size * width // short
    images = resample(images, (height, scaled_width))
    images = resample(images, (scaled_height, scaled_width))
    top, left = (scaled_height - size) // 2, (scaled_width - size) // 2
    return images[..., top : top + size, left : left + size]


def resample(images: Tensor, shape: tuple[int, int]) -> Tensor:
    """Bicubic with antialiasing, clamped because the kernel overshoots at sharp edges."""
    return F.interpolate(images, shape, mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)
