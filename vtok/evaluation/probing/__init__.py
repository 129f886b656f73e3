"""Probing: what video tokens hold, measured in minutes without training a language model."""

from typing import TYPE_CHECKING

from vtok.common.lazy import lazy_exports

if TYPE_CHECKING:
    from vtok.evaluation.probing.measures import Measure
    from vtok.evaluation.probing.result import (
        ProbeResult,
        differences,
        mean_metrics,
        side_by_side,
        write_probe_answers,
    )
    from vtok.evaluation.probing.run import Probing

__all__ = [
    "Measure",
    "ProbeResult",
    "Probing",
    "differences",
    "mean_metrics",
    "side_by_side",
    "write_probe_answers",
]

__getattr__, __dir__ = lazy_exports(__name__)
