"""How a mixture's samples are shared out among its sources: arithmetic alone, no torch."""

import re
from collections.abc import Collection, Mapping, Sequence
from difflib import get_close_matches
from fractions import Fraction
from math import floor, isfinite

from vtok.common.errors import UserError

NAME = re.compile(r"[A-Za-z0-9_-]+")
HALF = Fraction(1, 2)


def check_names(names: Collection[str]) -> None:
    """Raise UserError where there is no source, or one whose name cannot stand before a clip's."""
    if not names:
        raise UserError(
            "data.sources: a mixture needs one source or more. Use +data@data.sources.NAME=folder "
            "data.sources.NAME.root=PATH, and the same for each further one, or recipe=shapes_mixture."
        )
    for name in names:
        if not NAME.fullmatch(str(name)):
            raise UserError(f"data.sources.{name}: allowed in a source's name are letters, digits, _ and -.")


def check_weights(weights: Mapping[str, float], names: Collection[str]) -> None:
    """Raise UserError where weights are not one positive number for each source."""
    for name, weight in weights.items():
        if name not in names:
            near = get_close_matches(str(name), names, n=1, cutoff=0.5)
            hint = f"Did you mean {near[0]}? " if near else ""
            raise UserError(f"data.weights.{name}: there is no such source. {hint}Allowed: {', '.join(names)}.")
        if not (weight > 0 and isfinite(weight)):
            raise UserError(
                f"data.weights.{name}={weight:g}: allowed are numbers above 0; to leave it out say "
                f"~data.sources.{name} ~data.weights.{name}."
            )
    for name in names:
        if name not in weights:
            raise UserError(
                f"data.weights: the source {name} has none; say +data.weights.{name}=NUMBER, or data.weights=null for "
                "weights by the numbers of clips."
            )


def drawn(shares: Sequence[Fraction], count: int) -> list[int]:
    """How many of the first `count` samples are of each source.

    They are shared out as the seats of a parliament by the method of Sainte-Lague (Webster): the next sample is of the
    source with the greatest share / (2 x drawn + 1), the first of equal ones. No source ever loses one as `count`
    grows, and each has about its share of any `count`. Not walked through from 0: when the n-th is due at n / share,
    all that were due before a time are known at once, and are at most one a source too few.

    Args:
        shares: above 0, in any unit.
        count: 0 or more.
    """
    time = (count - len(shares) * HALF) / sum(shares)
    numbers = [max(0, floor(share * time + HALF)) for share in shares]
    for _ in range(count - sum(numbers)):
        following = [share / (2 * number + 1) for share, number in zip(shares, numbers, strict=True)]
        numbers[following.index(max(following))] += 1
    return numbers
