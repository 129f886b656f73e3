"""Synthetic clips of moving, coloured shapes."""

from typing import TYPE_CHECKING

from vtok.common.lazy import lazy_exports

if TYPE_CHECKING:
    from vtok.data.sources.shapes.source import ShapesData

__all__ = ["ShapesData"]

__getattr__, __dir__ = lazy_exports(__name__)
