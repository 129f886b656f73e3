"""vtok cost: the cost of tokenisers by clip length."""

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from annotated_types import MinLen
from omegaconf import DictConfig, OmegaConf

from vtok.common.errors import UserError
from vtok.common.files import atomic_file, check_writable, write_text
from vtok.common.setting_types import Count, CountOrZero
from vtok.common.tables import table
from vtok.config import check, compose
from vtok.config.cross_checks import TEXT_TOKENS
from vtok.config.nodes import planner_of
from vtok.evaluation.cost.measure import Cost, measure
from vtok.evaluation.cost.plot import draw_costs
from vtok.evaluation.cost.timing import spread

log = logging.getLogger("vtok")

HEADINGS = (
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
    "prefill, GFLOP",
    "prefill, ms",
    "prefill, MB",
    "step, ms",
)


def cost(
    *,
    tokenisers: Annotated[Sequence[str], MinLen(1)] = ("vtok", "frame_sampling", "key_frame"),
    frames: Annotated[Sequence[Count], MinLen(1)] = (30, 60, 121, 480, 1920),
    runs: Count = 5,
    every_frame: CountOrZero = 30,
    out: str | None = None,
    plot: str | None = None,
    overrides: Sequence[str] = (),
) -> str:
    """Measure the cost of tokenisers by clip length: tokens, FLOPs, time and memory.

    Each clip is noise in memory, and is measured alone. The tokenisers take turns in each round. Takes train's
    overrides.

    The columns: video tokens, and frames that go through the backbone; FLOPs, time and memory of the tokeniser with its
    backbone, and how many FLOPs and how much time it adds to the backbone's; the time of the backbone on every frame,
    as a multiple; FLOPs, time and memory of the language model on a question, up to the answer; time of a training
    step. A budget such as tokeniser.budget=3GFLOP or tokeniser.budget=40ms counts tokenising and prefill together.

    Args:
        tokenisers: options of the group tokeniser.
        frames: clip lengths, in frames.
        runs: number of rounds.
        every_frame: clips of up to this many frames are also encoded in full; 0: none.
        out: JSON file for the metrics.
        plot: PNG file for the curves.
        overrides: overrides of the configuration.

    Raises:
        UserError: if a configuration cannot run.
    """
    for path, suffix in ((out, ".json"), (plot, ".png")):
        if path is not None:
            check_writable(Path(path), suffix=suffix)
    lengths = sorted(set(frames))
    configs = {length: {name: config_of(name, length, overrides) for name in tokenisers} for length in lengths}
    costs: dict[int, dict[str, Cost]] = {}
    for length in lengths:
        log.info("clips of %d frames", length)
        costs[length] = measure(configs[length], runs=runs, every_frame=length <= every_frame)
    if out is not None:
        rows = {length: {name: one.row() for name, one in each.items()} for length, each in costs.items()}
        write_text(Path(out), json.dumps({"overrides": overrides, "runs": runs, "frames": rows}, indent=1))
    if plot is not None:
        with atomic_file(Path(plot)) as partial:
            draw_costs(costs, partial)
    rows_shown = [row_of(length, name, one) for length, each in costs.items() for name, one in each.items()]
    return table([HEADINGS, *rows_shown])


def config_of(tokeniser: str, frames: int, overrides: Sequence[str]) -> DictConfig:
    """The configuration of a tokeniser for clips of `frames` frames.

    If the overrides do not set mllm.context_length, it is increased to fit the clip.

    Raises:
        UserError: if the configuration cannot run, or trains another branch than understanding.
    """
    config = compose([*overrides, f"tokeniser={tokeniser}", f"clip.num_frames={frames}", "data.cache=null"])
    planner = planner_of(config)
    is_given = any(item.startswith("mllm.context_length=") for item in overrides)
    if planner is not None and not is_given and isinstance(OmegaConf.select(config, "mllm.context_length"), int):
        tokens = planner.num_tokens(planner.max_frames(frames))
        config.mllm.context_length = max(config.mllm.context_length, tokens + 4 * TEXT_TOKENS)
    check(config)
    for key in ("objective.lambda_visLM", "objective.lambda_dec"):
        if weight := OmegaConf.select(config, key):
            raise UserError(
                f"{key}={weight:g}: vtok cost only measures the understanding branch. Set objective=understanding."
            )
    return config


def row_of(frames: int, tokeniser: str, cost: Cost) -> tuple[str, ...]:
    """A row of the table; times are medians (min to max of the rounds)."""
    multiples = [every / encode for every, encode in zip(cost.every_frame, cost.encode, strict=False)]
    return (
        str(frames),
        tokeniser,
        str(cost.tokens),
        str(cost.encoded_frames),
        f"{cost.encode_flops / 1e9:.2f}",
        f"{cost.encode_flops / max(1, cost.backbone_flops) - 1:.2%}",
        spread([1000 * seconds for seconds in cost.encode], digits=1),
        spread([100 * share for share in cost.overhead], digits=1) + " %",
        f"{cost.encode_bytes / 1e6:.1f}",
        spread(multiples) if multiples else "",
        f"{cost.prefill_flops / 1e9:.2f}",
        spread([1000 * seconds for seconds in cost.prefill], digits=1),
        f"{cost.prefill_bytes / 1e6:.1f}",
        spread([1000 * seconds for seconds in cost.step], digits=1),
    )
