"""`tokeniser.budget=3GFLOP` and `tokeniser.budget=40ms`: finds the tokeniser's setting that costs this much.

The configuration then holds the setting, and its number of tokens as the budget. A saved run is therefore the same on
another machine.
"""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from contextlib import suppress

from omegaconf import DictConfig, OmegaConf

from vtok.common.errors import UserError
from vtok.config.budget import Budget, overrides_setting
from vtok.config.cross_checks import TEXT_TOKENS
from vtok.config.nodes import constant_of, feature_shape, planners

# Largest relative difference between the budget and the cost of the chosen setting.
TOLERANCE = {"GFLOP": 0.05, "ms": 0.15}
# A cost as near as this ends the search. Times of neighbouring settings differ by less than their noise.
NEAR_ENOUGH = {"GFLOP": 0.0, "ms": 0.05}
# Number of tokens up to which settings are tried if mllm.context_length is not set.
LONGEST = 2**20
# Factor between the steps of the search for a setting that costs more than the budget.
STEP_FACTOR = 4


def settle_cost(config: DictConfig, budget: Budget, overrides: Sequence[str] = ()) -> None:
    """Set the tokeniser's setting with which tokenising and prefill of a clip cost `budget`, and its number of tokens.

    The nearest setting is chosen, and must be within `TOLERANCE`. If several settings make as many tokens, the one that
    is set already stays; else the widest stride is chosen.

    Args:
        config: composed configuration, changed in place; `tokeniser.budget` becomes a number of tokens.
        budget: budget in GFLOP or milliseconds.
        overrides: overrides that it was composed with.

    Raises:
        UserError: if no value is near enough (names the nearest budgets that can be met), the overrides set a value
            that is not, or the cost cannot be measured.
    """
    # Measuring loads torch and the models.
    from vtok.evaluation.cost.meter import FlopMeter, TimeMeter

    key = constant_of(config.tokeniser, "budgeted")
    levels = Levels(config, key)
    meter = FlopMeter(config, key) if budget.currency == "GFLOP" else TimeMeter(config, key)
    # Values that make as many tokens cost the same: one of them is measured.
    measured: dict[int, int] = {}

    def cost_at(index: int) -> float:
        return meter.cost(measured.setdefault(levels.tokens_at(index), levels.values[index]))

    def is_met(index: int) -> bool:
        return abs(cost_at(index) / budget.amount - 1) <= TOLERANCE[budget.currency]

    near_enough = NEAR_ENOUGH[budget.currency]
    nearest = bracket(cost_at, levels.first, levels.last, budget.amount, near_enough=near_enough)
    found = [levels.start_of(index) for index in nearest]
    best = min(found, key=lambda index: abs(cost_at(index) - budget.amount))
    given = config.tokeniser[key]
    if given in levels.values[levels.first : levels.last + 1]:
        set_already = levels.values.index(given)
        # Costs that do not rise with the tokens, as elastic's, may hide a value that meets the budget.
        stays = overrides_setting(overrides, key) or not is_met(best)
        if levels.tokens_at(set_already) == levels.tokens_at(best) or (stays and is_met(set_already)):
            best = set_already
    if not is_met(best):
        met = [f"{Budget(cost_at(one), budget.currency)} (tokeniser.{key}={levels.values[one]})" for one in found]
        raise UserError(
            f"tokeniser.budget={budget}: no tokeniser.{key} costs this much within "
            f"{100 * TOLERANCE[budget.currency]:.0f} % with clip.num_frames={config.clip.num_frames} frames. "
            f"Use {' or '.join(met)}."
        )
    value = levels.values[best]
    if given != value and overrides_setting(overrides, key):
        raise UserError(
            f"tokeniser.{key}={given}: this does not meet tokeniser.budget={budget} with "
            f"clip.num_frames={config.clip.num_frames}. Remove it, or use tokeniser.{key}={value}."
        )
    OmegaConf.update(config, f"tokeniser.{key}", value)
    OmegaConf.update(config, "tokeniser.budget", levels.tokens_at(best))


class Levels:
    """The values of the setting that is found for a budget, in the order of rising numbers of tokens.

    Args:
        config: composed configuration, with tokeniser.budget=null.
        key: name of the setting.

    Attributes:
        values: values of the setting.
        first: index of the first value that the tokeniser accepts.
        last: index of the last value whose tokens fit the language model's context.

    Raises:
        UserError: if the tokeniser refuses every value, or none fits the context.
    """

    def __init__(self, config: DictConfig, key: str) -> None:
        self._key, self._num_frames = key, int(config.clip.num_frames)
        planner_with = planners(config)
        assert planner_with is not None
        self._planner_with = planner_with
        self._tokens: dict[int, int] = {}
        context = OmegaConf.select(config, "mllm.context_length")
        most = LONGEST if context is None else max(1, context - TEXT_TOKENS)
        self.values = values_of(config, key, most)
        self.first = 0
        # Values that the tokeniser refuses, such as fewer tokens than the first frame has patches.
        while self.first < len(self.values) - 1:
            with suppress(UserError):
                self.tokens_at(self.first)
                break
            self.first += 1
        if self.tokens_at(self.first) > most:
            raise UserError(
                f"mllm.context_length={context}: no tokeniser.{key} makes so few tokens that they fit. "
                f"Use mllm.context_length={self.tokens_at(self.first) + TEXT_TOKENS} or more."
            )
        indices = range(len(self.values))
        self.last = bisect_right(indices, most, lo=self.first + 1, key=self.tokens_at) - 1

    def tokens_at(self, index: int) -> int:
        """The number of tokens of a clip with the value at `index`."""
        if index not in self._tokens:
            planner = self._planner_with({self._key: self.values[index], "budget": None})
            self._tokens[index] = planner.num_tokens(planner.max_frames(self._num_frames))
        return self._tokens[index]

    def start_of(self, index: int) -> int:
        """The first index whose value makes as many tokens as that at `index`."""
        while index > self.first and self.tokens_at(index - 1) == self.tokens_at(index):
            index -= 1
        return index


def values_of(config: DictConfig, key: str, most_tokens: int) -> range:
    """Possible values of the setting: strides, descending; grid sizes or numbers of tokens, ascending."""
    if key == "stride":
        return range(max(1, int(config.clip.num_frames) - 1), 0, -1)
    if key == "grid_size" and (shape := feature_shape(config)) is not None:
        return range(1, shape.size + 1)
    return range(1, most_tokens + 1)


def bracket(
    cost_at: Callable[[int], float], first: int, last: int, target: float, *, near_enough: float
) -> tuple[int, ...]:
    """The neighbouring indices whose costs are below the target and not below it; one index at the end of the range.

    Expensive indices are only tried if cheaper ones cost less than the target.

    Args:
        cost_at: cost by index, rising.
        first, last: ends of the range.
        target: cost that is looked for.
        near_enough: relative difference at which an index is returned alone.
    """
    low = high = first
    step = 1
    while cost_at(high) < target:
        if high == last:
            return (last,)
        low, high, step = high, min(last, high + step), step * STEP_FACTOR
    while high - low > 1:
        middle = (low + high) // 2
        if abs(cost_at(middle) - target) <= near_enough * target:
            return (middle,)
        low, high = (middle, high) if cost_at(middle) < target else (low, middle)
    return (first,) if high == first else (low, high)
