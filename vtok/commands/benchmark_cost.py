"""`vtok benchmark cost`."""

import json
import logging
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from vtok.benchmark.cost import Cost, measure
from vtok.benchmark.cost_plot import draw_costs
from vtok.commands.benchmark import spread
from vtok.config import check, compose
from vtok.config.nodes import planner_of
from vtok.config.pairs import ROOM_FOR_TEXT
from vtok.data.write import check_writable, whole
from vtok.errors import UserError
from vtok.planning import table
from vtok.runs import write_text

log = logging.getLogger("vtok")


def benchmark_cost(
    *,
    tokenisers: list[str],
    frames: list[str],
    runs: int,
    every_frame: int,
    out: str | None,
    plot: str | None,
    overrides: list[str],
) -> str:
    """The table; also written to `out` as json and drawn to `plot`.

    Raises:
        UserError: a configuration that cannot run, or a count that is none.
    """
    lengths = sorted({whole_number(text) for text in frames})
    if runs < 1 or not lengths or not tokenisers:
        raise UserError(f"runs={runs}, frames={frames}, tokenisers={tokenisers}: allowed is 1 or more of each.")
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


def whole_number(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise UserError(f"frames={text}: allowed are whole numbers from 1 on, [30,121].")
    return int(text)


def config_of(tokeniser: str, frames: int, overrides: list[str]) -> DictConfig:
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
