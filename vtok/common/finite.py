"""Checks for NaN and infinity: metrics computed from a model that overflowed would look like any others."""

import math
from collections.abc import Mapping

from torch import Tensor

from vtok.common.errors import UserError

WAY_OUT = (
    "The weights are broken, perhaps by a training step that overflowed. Use an earlier checkpoint "
    "(run=RUN/checkpoints/step-NUMBER), or train again with a smaller optimiser.lr."
)


def check_finite(values: Tensor, *, what: str) -> None:
    """Raise UserError if an element of `values` is not finite; `what` names the values, in the plural.

    Tensors on the meta device hold no numbers and pass.
    """
    if not values.is_meta and not bool(values.isfinite().all()):
        raise UserError(f"{what} are not finite numbers (NaN or infinity). {WAY_OUT}")


def check_metrics(metrics: Mapping[str, float]) -> None:
    """Raise UserError if a metric is not a finite number."""
    broken = [name for name, value in metrics.items() if not math.isfinite(value)]
    if broken:
        named = ", ".join(broken[:3]) + (", ..." if len(broken) > 3 else "")
        raise UserError(f"{named}: not a finite number (NaN or infinity). {WAY_OUT}")
