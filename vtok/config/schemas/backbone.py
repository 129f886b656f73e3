"""`conf/backbone`: frames to feature maps."""

import re
from dataclasses import dataclass

CLIP_L_336 = "openai/clip-vit-large-patch14-336"
DINOV2_L = "facebook/dinov2-large"
VGG19_LAYERS = (
    *(f"{kind}{block}_{i}" for kind in ("conv", "relu") for block in (1, 2) for i in (1, 2)),
    *(f"{kind}{block}_{i}" for kind in ("conv", "relu") for block in (3, 4, 5) for i in (1, 2, 3, 4)),
    *(f"pool{block}" for block in (1, 2, 3, 4, 5)),
)


@dataclass
class TinyBackbone:
    _target_: str = "vtok.backbone.TinyBackbone"
    feature_dim: int = 96
    image_size: int = 64
    width: int = 32
    frozen: bool = False

    def feature_size(self) -> int | None:
        return self.image_size // 8

    def channels(self) -> int | None:
        return self.feature_dim


@dataclass
class ClipBackbone:
    _target_: str = "vtok.backbone.ClipBackbone"
    weights: str | None = CLIP_L_336
    revision: str | None = None
    layer: int = -1
    image_size: int = 336
    dtype: str = "float32"
    frozen: bool = True

    def feature_size(self) -> int | None:
        """Known of the default and of random weights; others bring their own sizes."""
        return self.image_size // 14 if self.weights in (None, CLIP_L_336) else None

    def channels(self) -> int | None:
        return 1024 if self.weights in (None, CLIP_L_336) else None

    def depth(self) -> int | None:
        """The hidden state that is tapped, counted from the first; CLIP-L has 24 layers."""
        return self.layer % 25 if self.weights in (None, CLIP_L_336) else None


@dataclass
class Vgg19Backbone:
    _target_: str = "vtok.backbone.Vgg19Backbone"
    weights: str | None = None
    revision: str | None = None
    layer: str = "conv4_4"
    image_size: int = 224
    frozen: bool = True

    def feature_size(self) -> int | None:
        """Each block but the first works at half the side of the one before; its pool halves once more."""
        named = re.fullmatch(r"(conv|relu|pool)([1-5])(_[1-4])?", self.layer)
        return self.image_size // 2 ** (int(named[2]) - 1 + (named[1] == "pool")) if named else None

    def channels(self) -> int | None:
        """64 in the first block, twice as many in each that follows, up to 512."""
        block = re.search(r"[1-5]", self.layer)
        return min(64 * 2 ** (int(block[0]) - 1), 512) if block else None


@dataclass
class VisionBackbone:
    _target_: str = "vtok.backbone.VisionBackbone"
    weights: str | None = DINOV2_L
    revision: str | None = None
    layer: int = -1
    image_size: int | None = None
    dtype: str = "float32"
    frozen: bool = True

    def feature_size(self) -> int | None:
        """Known of the default and of random weights, patches of 14 pixels; others bring their own sizes."""
        return (518 if self.image_size is None else self.image_size) // 14 if self.weights in (None, DINOV2_L) else None
