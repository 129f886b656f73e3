"""How sure a share is."""

import math

NORMAL_95 = 1.959964


def wilson(right: int, total: int) -> tuple[float, float]:
    """The 95 % interval of a share by Wilson's score: within 0..1 and sensible at both ends.

    Raises:
        ValueError: nothing was counted.
    """
    if total < 1:
        raise ValueError("an interval of no observations.")
    share, z2 = right / total, NORMAL_95**2
    centre = (share + z2 / (2 * total)) / (1 + z2 / total)
    half = NORMAL_95 * math.sqrt(share * (1 - share) / total + z2 / (4 * total**2)) / (1 + z2 / total)
    # The share lies within; rounding would put it outside where all or none are right.
    return max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half))
