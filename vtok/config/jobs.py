"""Checks the run of a command line, or all runs of its sweep, before the first begins."""

from collections.abc import Callable, Sequence
from itertools import islice, product
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, ValueType
from omegaconf import DictConfig

from vtok.common.errors import UserError
from vtok.common.processes import started_processes
from vtok.config.check import check, check_planned
from vtok.config.compose import compose, hydra_overrides, sweep_params
from vtok.config.options import one_of, options_of

MAX_CHECKED_JOBS = 256


def check_jobs(
    overrides: list[str],
    *,
    multirun: bool,
    config_dir: Path | None = None,
    before_planning: Callable[[Sequence[DictConfig]], None] | None = None,
) -> bool:
    """Check the run, or every run of the sweep, before the first begins; returns whether it is a sweep.

    Args:
        overrides: overrides of the run or the sweep.
        multirun: whether the command line has -m; a sweep file starts a sweep too.
        config_dir: folder of the user's own groups and options, which is also in hydra.searchpath.
        before_planning: function that is called with the configurations before the checks that load torch.

    Raises:
        UserError: if a run of the first MAX_CHECKED_JOBS is not valid; names the first mistake.
    """
    parsed = OverridesParser.create().parse_overrides(hydra_overrides(overrides))
    fixed = [item.input_line or "" for item in parsed if not item.is_sweep_override()]
    in_file = sweep_params(fixed)
    if not multirun and in_file is None:
        check_configs([compose(overrides)], before_planning)
        return False
    if started_processes() > 1:
        raise UserError(
            "A sweep cannot run under torchrun or accelerate launch. Start it as one process, or launch its jobs one "
            "by one."
        )
    # The command line overrides the sweep file.
    overridden = {item.get_key_element() for item in parsed}
    remaining = [f"{key}={value}" for key, value in (in_file or {}).items() if key not in overridden]
    from_file = OverridesParser.create().parse_overrides(remaining)
    swept = [
        [f"{item.get_key_element()}={value}" for value in swept_values(item, config_dir)]
        for item in (*(item for item in parsed if item.is_sweep_override()), *from_file)
    ]
    jobs = islice(product(*swept), MAX_CHECKED_JOBS)
    check_configs([compose([*fixed, *choice]) for choice in jobs], before_planning)
    return True


def check_configs(
    configs: Sequence[DictConfig], before_planning: Callable[[Sequence[DictConfig]], None] | None
) -> None:
    """Check configurations; the checks that load torch come last."""
    for config in configs:
        check(config, plan=False)
    if before_planning is not None:
        before_planning(configs)
    for config in configs:
        check_planned(config)


def swept_values(item: Override, config_dir: Path | None) -> list[str]:
    """The values that a sweep gives a key; for an interval, which a search draws from, both ends.

    Args:
        item: override of a sweep.
        config_dir: folder of the user's own groups and options.

    Raises:
        UserError: if there is no value, because no option matches a pattern or a range is empty.
    """
    # Hydra's annotation does not name the types of sweeps.
    value: Any = item.value()
    if item.is_interval_sweep():
        return [str(value.start), str(value.end)]
    if not item.is_sweep_override():
        return [item.get_value_element_as_str()]
    if item.value_type == ValueType.GLOB_CHOICE_SWEEP:
        options = options_of(item.key_or_group, config_dir)
        if not (values := value.filter(options)):
            way_out = one_of(",".join(value.include), options) or "Use a list of values: KEY=A,B."
            raise UserError(f"{item.input_line}: no option matches, and no job would run. {way_out}")
        return values
    if not (values := list(item.sweep_string_iterator())):
        raise UserError(
            f"{item.input_line}: this sweep has no values, and no job would run. Use a list of values: KEY=A,B."
        )
    return values
