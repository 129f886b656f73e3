"""A temporal benchmark out of any other data set: clips in versions that share their frames."""

from typing import TYPE_CHECKING

from vtok.common.lazy import lazy_exports

if TYPE_CHECKING:
    from vtok.data.sources.twins.source import TwinsData

__all__ = ["TwinsData"]

__getattr__, __dir__ = lazy_exports(__name__)
