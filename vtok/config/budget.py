"""`tokeniser.budget`: the setting with which a tokeniser makes so many tokens of a clip."""

import math
from collections.abc import Sequence
from contextlib import suppress

from omegaconf import DictConfig, OmegaConf

from vtok.common.errors import UserError
from vtok.config.nodes import feature_shape, planners, trait_of


def settle_budget(config: DictConfig, overrides: Sequence[str] = ()) -> None:
    """Write the setting that meets `tokeniser.budget` on clips of `clip.num_frames` into a composed configuration.

    It is the setting that the tokeniser's class names in `budgeted`. A setting that meets the budget already stays; of
    several strides that do the widest is taken, whose frames reach furthest into the clip. What `vtok.config.check`
    refuses is left to it.

    Args:
        config: the composed configuration.
        overrides: what was set for it.

    Raises:
        UserError: no setting meets the budget; it names the nearest budgets that can be met, and their settings. Or the
            overrides set one that does not.
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
    # Of those that make as many tokens the last one stays: the widest stride, or what was set.
    for value in [*values, *([given] if given in values else [])]:
        # A grid that is larger than the feature map, and the like.
        with suppress(UserError):
            planner = planner_with({key: value, "budget": None})
            settings[planner.num_tokens(planner.max_frames(num_frames))] = value
    if budget in settings:
        if given != settings[budget] and any(item.lstrip("+").startswith(f"tokeniser.{key}=") for item in overrides):
            raise UserError(
                f"tokeniser.{key}={given}: clip.num_frames={num_frames} frames then do not make the "
                f"tokeniser.budget={budget} tokens. Leave it out, or use tokeniser.{key}={settings[budget]}."
            )
        OmegaConf.update(config, f"tokeniser.{key}", settings[budget])
        return
    below, above = [one for one in settings if one < budget], [one for one in settings if one > budget]
    near = [*sorted(below)[-1:], *sorted(above)[:1]]
    met = " or ".join(f"{one} (tokeniser.{key}={settings[one]})" for one in near)
    raise UserError(
        f"tokeniser.budget={budget}: no tokeniser.{key} makes so many tokens of clip.num_frames={num_frames} frames, "
        f"all else being as it is. Use {met}."
    )


def budgeted_key(config: DictConfig) -> str | None:
    """The setting of the tokeniser that is found for its budget; None where there is no budget to meet."""
    if OmegaConf.select(config, "tokeniser.budget") is None:
        return None
    return trait_of(config.tokeniser, "budgeted")


def candidates(config: DictConfig, key: str) -> Sequence[int]:
    """Values that the setting may have, ascending: strides of the clip, sides of a grid, numbers of tokens."""
    budget, num_frames = config.tokeniser.budget, config.clip.num_frames
    if key == "stride":
        return range(1, max(1, num_frames - 1) + 1)
    if key == "grid_size":
        shape = feature_shape(config)
        # One above what would fill the budget, where the feature map is not known.
        return range(1, (math.isqrt(budget) + 1 if shape is None else shape.size) + 1)
    return range(budget, budget + 1)
