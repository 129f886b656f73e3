"""`tokeniser.budget`: the setting with which a tokeniser makes so many tokens of a clip."""

import math
from collections.abc import Sequence
from dataclasses import replace

from omegaconf import DictConfig, OmegaConf

from vtok.config.nodes import described, feature_size
from vtok.errors import UserError


def settle_budget(config: DictConfig, overrides: Sequence[str] = ()) -> None:
    """Write the setting that meets `tokeniser.budget` on clips of `data.num_frames` into a composed configuration.

    It is the key that the tokeniser's schema names in `budgeted`. A setting that meets the budget already stays; of
    several strides that do the widest is taken, whose frames reach furthest into the clip. What `vtok.config.check`
    refuses is left to it.

    Args:
        config: the composed configuration.
        overrides: what was said for it.

    Raises:
        UserError: no setting meets the budget; it names the nearest budgets that can be met, and their settings. Or the
            overrides say a setting that does not.
    """
    key = budgeted_key(config)
    budget, num_frames = OmegaConf.select(config, "tokeniser.budget"), config.data.num_frames
    if key is None or budget < 1 or num_frames < 1:
        return
    schema = described(config.tokeniser)
    values, said = (
        candidates(key, budget=budget, num_frames=num_frames, side=feature_size(config)),
        getattr(schema, key),
    )
    settings: dict[int, int] = {}
    # Of those that make as many tokens the last one stays: the widest stride, or what was said.
    for value in [*values, *([said] if said in values else [])]:
        planner = replace(schema, **{key: value, "budget": None}).planner()
        settings[planner.num_tokens(planner.max_frames(num_frames))] = value
    if budget in settings:
        if said != settings[budget] and any(item.lstrip("+").startswith(f"tokeniser.{key}=") for item in overrides):
            raise UserError(
                f"tokeniser.{key}={said}: data.num_frames={num_frames} frames then do not make the "
                f"tokeniser.budget={budget} tokens; leave it out, or say tokeniser.{key}={settings[budget]}."
            )
        OmegaConf.update(config, f"tokeniser.{key}", settings[budget])
        return
    below, above = [one for one in settings if one < budget], [one for one in settings if one > budget]
    near = [*sorted(below)[-1:], *sorted(above)[:1]]
    met = " or ".join(f"{one} (tokeniser.{key}={settings[one]})" for one in near)
    raise UserError(
        f"tokeniser.budget={budget}: no tokeniser.{key} makes so many tokens of data.num_frames={num_frames} frames, "
        f"all else being as it is; nearest to it: {met}."
    )


def budgeted_key(config: DictConfig) -> str | None:
    """The key of the tokeniser that is found for its budget; None where there is no budget to meet."""
    if OmegaConf.select(config, "tokeniser.budget") is None:
        return None
    return getattr(described(config.tokeniser), "budgeted", None)


def candidates(key: str, *, budget: int, num_frames: int, side: int | None) -> Sequence[int]:
    """What a key may be, ascending."""
    if key == "stride":
        return range(1, max(1, num_frames - 1) + 1)
    if key == "grid_size":
        # One above what would fill the budget, where the feature map is not known.
        return range(1, (math.isqrt(budget) + 1 if side is None else side) + 1)
    return range(budget, budget + 1)
