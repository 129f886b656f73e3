"""What every backbone has in common: frames in, a square feature map out."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class FeatureShape:
    """A feature map: its channels C, its side h = w, and where it is known `Backbone.depth`."""

    channels: int
    size: int
    depth: int | None = None


class Backbone(nn.Module, ABC):
    """Frames to feature maps, with the normalisation of its own and one flag that freezes it.

    A subclass builds its layers, ends its constructor with `self.set_frozen(frozen)` and implements `feature_map`.

    Args:
        feature_dim: channels C of the feature map.
        image_size: side in pixels of the square images that the network takes.
        stride: pixels of an image between two neighbours of the feature map.
        mean: of the red, green and blue values in [0, 1] that the network was trained on.
        std: the same for the standard deviation.

    Attributes:
        depth: layers of a vision transformer below the feature map, which is its `hidden_states[depth]`; None where
            that is not known, or the network is of another kind.
    """

    frozen: bool
    depth: int | None = None
    mean: Tensor
    std: Tensor

    def __init__(
        self, *, feature_dim: int, image_size: int, stride: int, mean: Sequence[float], std: Sequence[float]
    ) -> None:
        super().__init__()
        self.feature_dim = feature_dim
        self.image_size = image_size
        self.stride = stride
        # Not persistent, so that the state dict holds the network's own keys and no others.
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)

    @classmethod
    def feature_shape(cls, settings: Mapping[str, Any]) -> FeatureShape | None:
        """The feature map that a backbone of these settings makes; None where only its weights tell.

        Args:
            settings: arguments of the constructor, by name.
        """
        return None

    @property
    def feature_size(self) -> int:
        """Side h = w of the feature map."""
        return self.image_size // self.stride

    @abstractmethod
    def feature_map(self, images: Tensor) -> Tensor:
        """Normalised float32 images (N, 3, image_size, image_size) -> (N, feature_dim, feature_size, feature_size)."""

    def set_frozen(self, frozen: bool) -> None:
        """Freeze (no gradient, eval mode for good) or train all parameters."""
        self.frozen = frozen
        self.requires_grad_(not frozen)
        self.train(not frozen)

    def train(self, mode: bool = True) -> "Backbone":
        """Set the training mode; a frozen backbone stays in eval mode."""
        super().train(mode and not self.frozen)
        return self

    def forward(self, frames: Tensor) -> Tensor:
        """Encode frames of any size.

        Frames of another size than `image_size` are scaled until the short side fits and cropped in the centre.

        Args:
            frames: (N, 3, H, W), uint8 in 0..255 or floating point in 0..1.

        Returns:
            (N, feature_dim, feature_size, feature_size); without gradient from a frozen backbone.

        Raises:
            ValueError: the shape is not (N, 3, H, W).
            TypeError: the frames are neither uint8 nor floating point.
        """
        if frames.ndim != 4 or frames.shape[1] != 3:
            raise ValueError(f"a backbone takes frames of shape (N, 3, H, W), not {tuple(frames.shape)}")
        # no_grad and not inference_mode: the features enter the graph of the trained parts that follow.
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            images = fit(to_unit_range(frames), self.image_size)
            return self.feature_map((images - self.mean) / self.std)


def to_unit_range(frames: Tensor) -> Tensor:
    """uint8 in 0..255 or floating point in 0..1 -> float32 in 0..1."""
    if frames.dtype == torch.uint8:
        return frames.float() / 255
    if frames.is_floating_point():
        return frames.float()
    raise TypeError(f"frames are uint8 in 0..255 or floating point in 0..1, not {frames.dtype}")


def fit(images: Tensor, size: int) -> Tensor:
    """Scale images (N, 3, H, W) in 0..1 until the short side is `size`, then crop the centre to (N, 3, size, size).

    Bicubic with antialiasing, columns before rows and clamped after each, as PIL does it in CLIP's image processor. PIL
    also rounds to whole grey levels after each: the two differ by at most 2 levels of 255. Images of that size already
    are returned as they are.
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
    """Bicubic with antialiasing; clamped, for the kernel overshoots at sharp edges."""
    return F.interpolate(images, shape, mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)
