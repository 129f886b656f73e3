"""What a model that overflowed computes is NaN, and metrics counted from it would look like any others."""

import math
from collections.abc import Mapping

from torch import Tensor

from vtok.common.errors import UserError

WAY_OUT = (
    "The weights are broken, as after a step that overflowed: use an earlier checkpoint, "
    "run=RUN/checkpoints/step-NUMBER, or train again with a smaller optimiser.lr."
)


def check_finite(values: Tensor, *, what: str) -> None:
    """Raise UserError where a number of `values` is not finite; `what` names them, in the plural.

    Tensors on the meta device, of a model that is built for its shapes, have no numbers.
    """
    if not values.is_meta and not bool(values.isfinite().all()):
        raise UserError(f"{what} are not finite numbers (NaN or infinity). {WAY_OUT}")


def check_figures(figures: Mapping[str, float]) -> None:
    """Raise UserError where a figure is not a finite number."""
    broken = [name for name, value in figures.items() if not math.isfinite(value)]
    if broken:
        named = ", ".join(broken[:3]) + (", ..." if len(broken) > 3 else "")
        raise UserError(f"{named}: not a finite number (NaN or infinity). {WAY_OUT}")
