"""vtok validate: what a configuration would do."""

from vtok.config import check, compose
from vtok.config.nodes import feature_size, planner_of


def validate(overrides: list[str]) -> None:
    """Compose, check, and print the components and the frame plan.

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
    if (side := feature_size(config)) is not None:
        print(f"{'features':<13}{side} x {side}")
    if (planner := planner_of(config)) is not None:
        frames = int(config.data.num_frames)
        plan = planner.plan(frames)
        shown = ", ".join(map(str, plan.indices[:12])) + (", ..." if len(plan.indices) > 12 else "")
        print(f"{'plan':<13}{len(plan.indices)} of {frames} frames: {shown}")
        print(f"{'tokens':<13}{planner.num_tokens(len(plan.indices))} a clip")
    print("the configuration is valid")
