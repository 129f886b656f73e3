"""The heads of visual language modelling: a hidden state in, the next video token out."""

from typing import TYPE_CHECKING

from vtok.common.lazy import lazy_exports

if TYPE_CHECKING:
    from vtok.visual_head.base import VisualHead
    from vtok.visual_head.flow import FlowHead
    from vtok.visual_head.mixture import MixtureHead
    from vtok.visual_head.none import NoVisualHead
    from vtok.visual_head.regression import RegressionHead

__all__ = ["FlowHead", "MixtureHead", "NoVisualHead", "RegressionHead", "VisualHead"]

__getattr__, __dir__ = lazy_exports(__name__)
