"""vtok benchmark train: what the trainer costs beside a bare loop."""

import json
import statistics
from collections.abc import Sequence
from pathlib import Path

from vtok.benchmark.train import least_steps, measure
from vtok.common.errors import UserError
from vtok.common.files import check_writable, write_text
from vtok.common.setting_types import Count
from vtok.config import check, compose


def benchmark_train(
    *,
    steps: Count = 200,
    out: str | None = None,
    overrides: Sequence[str] = (),
) -> str:
    """Seconds a step of the trainer, with tracking, average and log, beside those of a bare loop.

    They run in turns.

    Takes train's overrides. The batches lie in memory, so that decoding is no part of it.

    Args:
        steps: optimiser steps of each loop, in turns of trainer.log_every.
        out: JSON file for the metrics.
        overrides: of the configuration.

    Raises:
        UserError: too few steps, or a configuration that cannot run.
    """
    if out is not None:
        check_writable(Path(out), suffix=".json")
    config = compose(overrides)
    check(config)
    turn = config.trainer.log_every
    if steps < (least := least_steps(turn)):
        raise UserError(
            f"steps={steps}: allowed are {least} or more, to compare turns of trainer.log_every={turn} steps."
        )
    result = measure(config, steps=steps)
    if out is not None:
        figures = {"trainer": result.trainer, "bare": result.bare, "ratios": result.ratios, "shares": result.shares}
        write_text(Path(out), json.dumps({"overrides": overrides, "steps": steps, "turn": turn, **figures}, indent=1))
    low, middle, high = quartiles(result.ratios)
    lines = [
        f"trainer    {1000 * statistics.mean(result.trainer):.1f} ms a step",
        f"bare loop  {1000 * statistics.mean(result.bare):.1f} ms a step",
        f"ratio      {result.ratio:.3f} in all; of {len(result.ratios)} turns of {turn} steps the median is "
        f"{middle:.3f}, half are from {low:.3f} to {high:.3f}",
    ]
    if result.shares:
        parts = ", ".join(f"{part} {share:.1%}" for part, share in result.shares.items())
        lines.append(f"its time   {parts}")
    return "\n".join(lines)


def quartiles(values: Sequence[float]) -> list[float]:
    return statistics.quantiles(values) if len(values) > 1 else [*values] * 3
