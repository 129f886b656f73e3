"""The runs that a command line asks for, one or those of a sweep, checked before the first begins."""

import os
from collections.abc import Callable, Sequence
from itertools import islice, product
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, ValueType
from omegaconf import DictConfig

from vtok.common.errors import UserError
from vtok.config.check import check, check_planned
from vtok.config.compose import compose, spelled_out, sweep_params
from vtok.config.options import one_of, options_of

SWEEP_CHECKS = 256


def check_jobs(
    overrides: list[str],
    *,
    multirun: bool,
    config_dir: Path | None = None,
    before_planning: Callable[[Sequence[DictConfig]], None] | None = None,
) -> bool:
    """Check the run, or every run of the sweep, before the first begins; returns whether it is a sweep.

    Args:
        overrides: of the run or the sweep.
        multirun: whether the command line asks for a sweep; a sweep file does so too.
        config_dir: a folder of the user's own groups and options, which the overrides name in hydra.searchpath.
        before_planning: is given the configurations when all is checked but for what needs torch.

    Raises:
        UserError: the first mistake.
    """
    parsed = OverridesParser.create().parse_overrides(spelled_out(overrides))
    fixed = [item.input_line or "" for item in parsed if not item.is_sweep_override()]
    in_file = sweep_params(fixed)
    if not multirun and in_file is None:
        check_all([compose(overrides)], before_planning)
        return False
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UserError(
            "a sweep under torchrun or accelerate launch: start it as one process, or launch its jobs one by one."
        )
    # What is said on the command line takes the place of the file's.
    said = {item.get_key_element() for item in parsed}
    left = [f"{key}={value}" for key, value in (in_file or {}).items() if key not in said]
    from_file = OverridesParser.create().parse_overrides(left)
    swept = [
        [f"{item.get_key_element()}={value}" for value in swept_values(item, config_dir)]
        for item in (*(item for item in parsed if item.is_sweep_override()), *from_file)
    ]
    check_all([compose([*fixed, *choice]) for choice in islice(product(*swept), SWEEP_CHECKS)], before_planning)
    return True


def check_all(configs: Sequence[DictConfig], before_planning: Callable[[Sequence[DictConfig]], None] | None) -> None:
    """Check configurations; what needs torch comes last."""
    for config in configs:
        check(config, plan=False)
    if before_planning is not None:
        before_planning(configs)
    for config in configs:
        check_planned(config)


def swept_values(item: Override, config_dir: Path | None) -> list[str]:
    """What a sweep sets a key to, one value a job; of an interval, which a search draws from, both ends.

    Args:
        item: an override of a sweep.
        config_dir: a folder of the user's own groups and options.

    Raises:
        UserError: a pattern that no option matches, or a range without numbers: there would be no job.
    """
    # Of a type that Hydra's annotation does not name.
    value: Any = item.value()
    if item.is_interval_sweep():
        return [str(value.start), str(value.end)]
    if not item.is_sweep_override():
        return [item.get_value_element_as_str()]
    if item.value_type == ValueType.GLOB_CHOICE_SWEEP:
        options = options_of(item.key_or_group, config_dir)
        if not (values := value.filter(options)):
            pattern = ",".join(value.include)
            raise UserError(
                f"{item.input_line}: no option matches, so that no job would run. {one_of(pattern, options)}"
            )
        return values
    if not (values := list(item.sweep_string_iterator())):
        raise UserError(f"{item.input_line}: this is a sweep without values, so that no job would run.")
    return values
