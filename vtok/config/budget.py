"""`tokeniser.budget`: finds the tokeniser's setting that makes this many tokens from a clip.

A budget in GFLOP or milliseconds is settled by `vtok.config.cost_budget`.
"""

import math
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

from omegaconf import DictConfig, OmegaConf

from vtok.common.errors import UserError
from vtok.config.nodes import constant_of, feature_shape, planners
from vtok.config.values import value_text
from vtok.data.plan import is_integer

AMOUNT = re.compile(r"(\d+\.?\d*|\.\d+)(GFLOP|ms)")


@dataclass(frozen=True)
class Budget:
    """What a clip may cost.

    Attributes:
        amount: tokens; or 10^9 operations, or milliseconds, of tokenising and prefill as `vtok cost` measures them.
        currency: unit of the amount.
    """

    amount: float
    currency: Literal["tokens", "GFLOP", "ms"]

    def __str__(self) -> str:
        """The budget as it is given on the command line."""
        return f"{self.amount:g}" if self.currency == "tokens" else f"{number_text(self.amount)}{self.currency}"


def number_text(amount: float) -> str:
    """A positive number with three significant digits, without an exponent: "0.0123", "2.31", "1250"."""
    if amount >= 100:
        return f"{amount:.0f}"
    return f"{amount:.{2 - math.floor(math.log10(amount))}f}".rstrip("0").rstrip(".")


def parse_budget(value: Any) -> Budget:
    """The budget of a value of `tokeniser.budget`, such as 46, "3GFLOP" or "40ms".

    Raises:
        UserError: if it is not one.
    """
    if is_integer(value) and value >= 1:
        return Budget(value, "tokens")
    found = AMOUNT.fullmatch(value) if isinstance(value, str) else None
    if found is not None and float(found[1]) > 0:
        return Budget(float(found[1]), "GFLOP" if found[2] == "GFLOP" else "ms")
    raise UserError(
        f"tokeniser.budget={value_text(value)}: this is not a budget. Use a number of tokens >= 1 "
        "(tokeniser.budget=46), operations > 0 (tokeniser.budget=3GFLOP), milliseconds > 0 (tokeniser.budget=40ms) or "
        "null."
    )


def read_budget(config: DictConfig) -> Budget | None:
    """The budget that a configuration asks for; None if it asks for none, or the tokeniser takes none.

    A budget in another currency than tokens becomes null in the configuration, until it is settled.

    Raises:
        UserError: if it is not a budget.
    """
    if budgeted_key(config) is None:
        return None
    budget = parse_budget(config.tokeniser.budget)
    if budget.currency != "tokens":
        config.tokeniser.budget = None
    return budget


def settle_budget(config: DictConfig, overrides: Sequence[str] = ()) -> None:
    """Set the tokeniser's setting with which a clip of `clip.num_frames` makes `tokeniser.budget` tokens.

    The tokeniser's class names this setting in `budgeted`. A value that meets the budget already stays. If several
    strides do, the widest is chosen: its frames reach furthest into the clip. Other mistakes in the configuration are
    left to `vtok.config.check`.

    Args:
        config: composed configuration, changed in place.
        overrides: overrides that it was composed with.

    Raises:
        UserError: if no value meets the budget (names the nearest budgets that can be met), or the overrides set a
            value that does not.
    """
    key = budgeted_key(config)
    if key is None:
        return
    budget, num_frames = config.tokeniser.budget, config.clip.num_frames
    given = config.tokeniser[key]
    values = candidates(config, key)
    planner_with = planners(config)
    assert planner_with is not None
    settings: dict[int, int] = {}
    # The last of several values that make the same number of tokens stays: the widest stride, or the one that was set.
    for value in [*values, *([given] if given in values else [])]:
        # Values that the tokeniser refuses, such as a grid larger than the feature map.
        with suppress(UserError):
            planner = planner_with({key: value, "budget": None})
            settings[planner.num_tokens(planner.max_frames(num_frames))] = value
    if not settings:
        # Every value is refused; the tokeniser says why.
        planner_with({key: values[0], "budget": None})
    if budget in settings:
        if given != settings[budget] and overrides_setting(overrides, key):
            raise UserError(
                f"tokeniser.{key}={given}: this does not meet tokeniser.budget={budget} with "
                f"clip.num_frames={num_frames}. Remove it, or use tokeniser.{key}={settings[budget]}."
            )
        OmegaConf.update(config, f"tokeniser.{key}", settings[budget])
        return
    below, above = [one for one in settings if one < budget], [one for one in settings if one > budget]
    near = [*sorted(below)[-1:], *sorted(above)[:1]]
    met = " or ".join(f"{one} (tokeniser.{key}={settings[one]})" for one in near)
    raise UserError(
        f"tokeniser.budget={budget}: no tokeniser.{key} makes this many tokens from clip.num_frames={num_frames} "
        f"frames. Use {met}."
    )


def budgeted_key(config: DictConfig) -> str | None:
    """The tokeniser's setting that is found for its budget; None if there is no budget."""
    if OmegaConf.select(config, "tokeniser.budget") is None:
        return None
    return constant_of(config.tokeniser, "budgeted")


def overrides_setting(overrides: Sequence[str], key: str) -> bool:
    """Whether overrides set a setting of the tokeniser."""
    return any(item.lstrip("+").startswith(f"tokeniser.{key}=") for item in overrides)


def candidates(config: DictConfig, key: str) -> Sequence[int]:
    """Possible values of the setting, ascending: strides, grid sizes or numbers of tokens."""
    budget, num_frames = config.tokeniser.budget, config.clip.num_frames
    if key == "stride":
        return range(1, max(1, num_frames - 1) + 1)
    if key == "grid_size":
        shape = feature_shape(config)
        # If the size of the feature map is not known: up to one more than fills the budget.
        return range(1, (math.isqrt(budget) + 1 if shape is None else shape.size) + 1)
    return range(budget, budget + 1)
