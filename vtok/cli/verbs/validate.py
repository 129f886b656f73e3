"""vtok validate: what a configuration would do."""

from omegaconf import DictConfig

from vtok.config import check, compose
from vtok.config.budget import budgeted_key
from vtok.config.nodes import feature_shape, planner_of


def validate(overrides: list[str]) -> None:
    """Check a configuration and show what it would do; nothing is built, read or written.

    Takes train's overrides.

    Raises:
        UserError: the configuration cannot run.
    """
    config = compose(overrides)
    check(config)
    for group in (
        "backbone",
        "tokeniser",
        "mllm",
        "visual_head",
        "decoder",
        "data",
        "optimiser",
        "scheduler",
        "objective",
        "tracking",
    ):
        print(f"{group:<13}{config[group]['_target_']}")
    print(*frame_lines(config), "the configuration is valid", sep="\n")


def frame_lines(config: DictConfig) -> list[str]:
    """The feature map, the frame plan and the tokens that come of it, where they are known."""
    lines = []
    if (shape := feature_shape(config)) is not None:
        lines.append(f"{'features':<13}{shape.size} x {shape.size}")
    if (planner := planner_of(config)) is not None:
        frames = int(config.clip.num_frames)
        plan = planner.plan(frames)
        shown = ", ".join(map(str, plan.indices[:12])) + (", ..." if len(plan.indices) > 12 else "")
        lines.append(f"{'plan':<13}{len(plan.indices)} of {frames} frames: {shown}")
        lines.append(f"{'tokens':<13}{planner.num_tokens(len(plan.indices))} a clip")
    if (key := budgeted_key(config)) is not None:
        lines.append(f"{'budget':<13}{config.tokeniser.budget}: tokeniser.{key}={config.tokeniser[key]}")
    return lines
