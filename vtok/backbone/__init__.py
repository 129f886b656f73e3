"""Backbones: frames to feature maps."""

from typing import TYPE_CHECKING

from vtok.common.lazy import lazy_exports

if TYPE_CHECKING:
    from vtok.backbone.base import Backbone
    from vtok.backbone.clip import ClipBackbone
    from vtok.backbone.pixels import PixelsBackbone
    from vtok.backbone.tiny import TinyBackbone
    from vtok.backbone.vgg19 import Vgg19Backbone
    from vtok.backbone.vision import VisionBackbone

__all__ = ["Backbone", "ClipBackbone", "PixelsBackbone", "TinyBackbone", "Vgg19Backbone", "VisionBackbone"]

__getattr__, __dir__ = lazy_exports(__name__)
