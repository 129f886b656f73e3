"""Made clips of coloured shapes."""

from vtok.data.shapes.source import ShapesData

__all__ = ["ShapesData"]
