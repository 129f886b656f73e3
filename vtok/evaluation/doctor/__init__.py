"""Checks of what a tokeniser must not get wrong, for the built-in ones and a user's own."""

from typing import TYPE_CHECKING

from vtok.common.lazy import lazy_exports

if TYPE_CHECKING:
    from vtok.evaluation.doctor.finding import FAILED, Finding
    from vtok.evaluation.doctor.run import examine

__all__ = ["FAILED", "Finding", "examine"]

__getattr__, __dir__ = lazy_exports(__name__)
