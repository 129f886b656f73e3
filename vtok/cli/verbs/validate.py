"""vtok validate: checks a configuration and shows its frame plan."""

from omegaconf import DictConfig

from vtok.common.tables import named_values
from vtok.config import check, compose
from vtok.config.budget import Budget, budgeted_key, number_text
from vtok.config.compose import asked_budget
from vtok.config.nodes import feature_shape, planner_of

GROUPS = (
    *("backbone", "tokeniser", "mllm", "visual_head", "decoder"),
    *("data", "optimiser", "scheduler", "objective", "tracking"),
)


def validate(overrides: list[str]) -> None:
    """Check a configuration, and show its components, frame plan, tokens and budget; nothing is trained.

    Takes train's overrides. With tokeniser.budget it also shows what a clip costs: tokens, and GFLOP and milliseconds
    of tokenising and prefill. Milliseconds are shown where they are calibrated, which a budget in milliseconds does.

    Raises:
        UserError: if the configuration cannot run.
    """
    config = compose(overrides)
    check(config)
    rows = [(group, config[group]["_target_"]) for group in GROUPS]
    rows += [*frame_rows(config, asked_budget(overrides)), *cost_rows(config)]
    print(named_values(rows), "the configuration is valid", sep="\n")


def frame_rows(config: DictConfig, asked: Budget | None) -> list[tuple[str, str]]:
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
        tokens = config.tokeniser.budget
        also = f" tokeniser.budget={tokens}" if asked is not None and asked.currency != "tokens" else ""
        rows.append(("budget", f"{asked or tokens}: tokeniser.{key}={config.tokeniser[key]}{also}"))
    return rows


def cost_rows(config: DictConfig) -> list[tuple[str, str]]:
    """What a clip costs in the currencies of budgets, and the file of measured times; nothing without a budget."""
    if (key := budgeted_key(config)) is None:
        return []
    from vtok.evaluation.cost.meter import FlopMeter, TimeMeter

    tokens = config.tokeniser.budget
    calibration = TimeMeter(config, key).calibration
    time = calibration.milliseconds(tokens)
    shown = "ms not calibrated" if time is None else f"{number_text(time)} ms"
    gflop = number_text(FlopMeter(config, key).cost(config.tokeniser[key]))
    rows = [("cost", f"{tokens} tokens, {gflop} GFLOP, {shown}")]
    return rows if time is None else [*rows, ("calibration", str(calibration.path))]
