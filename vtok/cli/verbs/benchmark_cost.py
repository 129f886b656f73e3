"""`vtok benchmark cost`."""

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from annotated_types import MinLen
from omegaconf import DictConfig, OmegaConf

from vtok.cli.verbs.benchmark_decode import spread
from vtok.common.errors import UserError
from vtok.common.files import check_writable, whole, write_text
from vtok.common.setting_types import Count, CountOrZero
from vtok.common.tables import table
from vtok.config import check, compose
from vtok.config.cross_checks import ROOM_FOR_TEXT
from vtok.config.nodes import planner_of
from vtok.evaluation.cost.measure import Cost, measure
from vtok.evaluation.cost.plot import draw_costs

log = logging.getLogger("vtok")


def benchmark_cost(
    *,
    tokenisers: Annotated[Sequence[str], MinLen(1)] = ("vtok", "frame_sampling", "key_frame"),
    frames: Annotated[Sequence[Count], MinLen(1)] = (30, 60, 121, 480, 1920),
    runs: Count = 5,
    every_frame: CountOrZero = 30,
    out: str | None = None,
    plot: str | None = None,
    overrides: Sequence[str] = (),
) -> str:
    """What tokenisers cost over the length of the clip: tokens, operations, time and memory.

    One clip at a time.

    Takes train's overrides. Clips are noise in memory; models take turns in each round.

    Args:
        tokenisers: options of the group tokeniser.
        frames: clip lengths, in frames.
        runs: number of rounds.
        every_frame: clips of up to this many frames are also encoded in full; 0: none.
        out: JSON file for the metrics.
        plot: PNG file for the curves.
        overrides: of the configuration.

    Raises:
        UserError: a configuration that cannot run, or a count that is none.
    """
    lengths = sorted(set(frames))
    for path, suffix in ((out, ".json"), (plot, ".png")):
        if path is not None:
            check_writable(Path(path), suffix=suffix)
    configs = {length: {name: config_of(name, length, overrides) for name in tokenisers} for length in lengths}
    costs: dict[int, dict[str, Cost]] = {}
    for length in lengths:
        log.info("clips of %d frames", length)
        costs[length] = measure(configs[length], runs=runs, every_frame=length <= every_frame)
    if out is not None:
        rows = {length: {name: cost.row() for name, cost in each.items()} for length, each in costs.items()}
        write_text(Path(out), json.dumps({"overrides": overrides, "runs": runs, "frames": rows}, indent=1))
    if plot is not None:
        with whole(Path(plot)) as partial:
            draw_costs(costs, partial)
    return shown(costs)


def config_of(tokeniser: str, frames: int, overrides: Sequence[str]) -> DictConfig:
    """With room in the language model for the clip, where its length is a setting and nothing is said of it."""
    config = compose([*overrides, f"tokeniser={tokeniser}", f"data.num_frames={frames}", "data.cache=null"])
    planner = planner_of(config)
    said = any(item.startswith("mllm.context_length=") for item in overrides)
    if planner is not None and not said and isinstance(OmegaConf.select(config, "mllm.context_length"), int):
        tokens = planner.num_tokens(planner.max_frames(frames))
        config.mllm.context_length = max(config.mllm.context_length, tokens + 4 * ROOM_FOR_TEXT)
    check(config)
    if OmegaConf.select(config, "objective.lambda_visLM") or OmegaConf.select(config, "objective.lambda_dec"):
        raise UserError("objective: the cost of the understanding branch is measured; say objective=understanding.")
    return config


def shown(costs: dict[int, dict[str, Cost]]) -> str:
    """A row for each tokeniser and length; times are medians (least to most of the rounds)."""
    rows = [
        (
            "frames",
            "tokeniser",
            "tokens",
            "encoded",
            "GFLOP",
            "its own",
            "encode, ms",
            "its own",
            "encode, MB",
            "every frame, times",
            "prefill, ms",
            "prefill, MB",
            "step, ms",
        )
    ]
    for length, each in costs.items():
        for name, cost in each.items():
            times = [one / other for one, other in zip(cost.every_frame, cost.encode, strict=False)]
            rows.append(
                (
                    str(length),
                    name,
                    str(cost.tokens),
                    str(cost.planned),
                    f"{cost.encode_flops / 1e9:.2f}",
                    f"{cost.encode_flops / max(1, cost.backbone_flops) - 1:.2%}",
                    spread([1000 * value for value in cost.encode], digits=1),
                    spread([100 * value for value in cost.overhead], digits=1) + " %",
                    f"{cost.encode_bytes / 1e6:.1f}",
                    spread(times, digits=2) if times else "",
                    spread([1000 * value for value in cost.prefill], digits=1),
                    f"{cost.prefill_bytes / 1e6:.1f}",
                    spread([1000 * value for value in cost.step], digits=1),
                )
            )
    return table(rows)
