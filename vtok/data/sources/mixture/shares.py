"""Apportions the samples of a mixture to its sources; does not import torch."""

import re
from collections.abc import Collection, Mapping, Sequence
from difflib import get_close_matches
from fractions import Fraction
from math import floor, isfinite

from vtok.common.errors import UserError

NAME = re.compile(r"[A-Za-z0-9_-]+")
HALF = Fraction(1, 2)


def check_names(names: Collection[str]) -> None:
    """Raise UserError if there is no source, or a source has an invalid name."""
    if not names:
        raise UserError(
            "data.sources: a mixture needs one source or more. Use +data@data.sources.NAME=folder "
            "data.sources.NAME.root=PATH, and the same for each further one, or recipe=shapes_mixture."
        )
    for name in names:
        if not NAME.fullmatch(str(name)):
            raise UserError(f"data.sources.{name}: this name is invalid. Use letters, digits, _ and -.")


def check_weights(weights: Mapping[str, float], names: Collection[str]) -> None:
    """Raise UserError unless every source has one positive weight."""
    for name, weight in weights.items():
        if name not in names:
            near = get_close_matches(str(name), names, n=1, cutoff=0.5)
            hint = f"Did you mean {near[0]}? " if near else ""
            raise UserError(f"data.weights.{name}: unknown source. {hint}Use {', '.join(names)}.")
        if not (weight > 0 and isfinite(weight)):
            raise UserError(
                f"data.weights.{name}={weight:g}: a weight is a number above 0. Use ~data.sources.{name} "
                f"~data.weights.{name} to leave the source out."
            )
    for name in names:
        if name not in weights:
            raise UserError(
                f"data.weights: the source {name} has no weight. Set +data.weights.{name}=NUMBER, or data.weights=null "
                "to weight sources by their number of clips."
            )


def samples_per_source(shares: Sequence[Fraction], count: int) -> list[int]:
    """Number of samples of each source among the first `count`.

    This is the Sainte-Lague (Webster) method for seats of a parliament: the next sample is of the source with the
    largest share / (2 n + 1), where n is its number of samples so far; the first one of a tie. The numbers never shrink
    as `count` grows, and are close to the shares for any `count`. The loop does not start at 0: a source's n-th sample
    is due at a time proportional to n / share, which gives numbers that are too small by at most one a source.

    Args:
        shares: share of each source, above 0, in any unit.
        count: number of samples, 0 or more.
    """
    time = (count - len(shares) * HALF) / sum(shares)
    numbers = [max(0, floor(share * time + HALF)) for share in shares]
    for _ in range(count - sum(numbers)):
        following = [share / (2 * number + 1) for share, number in zip(shares, numbers, strict=True)]
        numbers[following.index(max(following))] += 1
    return numbers
