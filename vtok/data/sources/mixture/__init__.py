"""A weighted mixture of several data sets."""

from typing import TYPE_CHECKING

from vtok.common.lazy import lazy_exports

if TYPE_CHECKING:
    from vtok.data.sources.mixture.source import MixtureData

__all__ = ["MixtureData"]

__getattr__, __dir__ = lazy_exports(__name__)
