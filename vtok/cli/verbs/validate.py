"""vtok validate: checks a configuration and shows its frame plan."""

from omegaconf import DictConfig

from vtok.common.tables import named_values
from vtok.config import check, compose
from vtok.config.budget import budgeted_key
from vtok.config.nodes import feature_shape, planner_of

GROUPS = (
    *("backbone", "tokeniser", "mllm", "visual_head", "decoder"),
    *("data", "optimiser", "scheduler", "objective", "tracking"),
)


def validate(overrides: list[str]) -> None:
    """Check a configuration, and show its components, frame plan and tokens; nothing is trained or written.

    Takes train's overrides.

    Raises:
        UserError: if the configuration cannot run.
    """
    config = compose(overrides)
    check(config)
    rows = [(group, config[group]["_target_"]) for group in GROUPS]
    print(named_values([*rows, *frame_rows(config)]), "the configuration is valid", sep="\n")


def frame_rows(config: DictConfig) -> list[tuple[str, str]]:
    """Names and values of the feature map, the frame plan, the tokens and the budget, where they are known."""
    rows = []
    if (shape := feature_shape(config)) is not None:
        rows.append(("features", f"{shape.size} x {shape.size}"))
    if (planner := planner_of(config)) is not None:
        frames = int(config.clip.num_frames)
        plan = planner.plan(frames)
        shown = ", ".join(map(str, plan.indices[:12])) + (", ..." if len(plan.indices) > 12 else "")
        rows.append(("plan", f"{len(plan.indices)} of {frames} frames: {shown}"))
        rows.append(("tokens", f"{planner.num_tokens(len(plan.indices))} a clip"))
    if (key := budgeted_key(config)) is not None:
        rows.append(("budget", f"{config.tokeniser.budget}: tokeniser.{key}={config.tokeniser[key]}"))
    return rows
