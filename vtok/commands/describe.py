"""vtok describe: a run's model on a video."""

from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig

from vtok.batch import stack_frames
from vtok.commands.clip import read_clip
from vtok.commands.making import check_text
from vtok.commands.prepare import load_run
from vtok.errors import UserError
from vtok.model import VideoLanguageModel
from vtok.setting_types import Count, NotNegative


def describe(
    *,
    video: str,
    prompt: str = "describe the video.",
    run: str = "latest",
    start: NotNegative = 0.0,
    max_new_tokens: Count = 64,
    outputs: str = "outputs",
    allowed_targets: Sequence[str] = (),
) -> str:
    """A run's model says what is to be seen in a video file or a folder of frames.

    Args:
        video: a video file or a folder of frames.
        prompt: question or request to the model.
        run: a run folder, a checkpoint of one, or latest: the newest run that finished or was stopped.
        start: time in the video at which the clip starts, in seconds.
        max_new_tokens: longest answer, in tokens.
        outputs: folder in which runs are looked for.
        allowed_targets: packages of your own whose components are built, [A,B]; no folder has a say in it.

    Raises:
        UserError: the video cannot be read, there is no such run, or it did not learn to answer.
    """
    check_text("prompt", prompt)
    run_dir, config, model = load_run(run, outputs=outputs, allowed_targets=allowed_targets)
    check_understands(run_dir, model)
    return answer(config, model, video, prompt=prompt, start=start, max_new_tokens=max_new_tokens)


def check_understands(run_dir: Path, model: VideoLanguageModel) -> None:
    """Refuse a run whose model did not learn to answer."""
    if not model.objective.understands:
        raise UserError(
            f"run={run_dir}: its objective.lambda_under is 0, so that it did not learn to answer questions about "
            "videos; take a run with objective=understanding or joint."
        )


def answer(
    config: DictConfig, model: VideoLanguageModel, video: str, *, prompt: str, start: float, max_new_tokens: int
) -> str:
    """See `describe`; of a model that is loaded, with its configuration."""
    check_text("prompt", prompt)
    if max_new_tokens < 1:
        raise UserError(f"max_new_tokens={max_new_tokens}: must be 1 or more.")
    sample, _ = read_clip(config, model.tokeniser.planner, video, start=start)
    frames = stack_frames([sample]).to(next(model.parameters()).device)
    return model.describe(frames, [prompt], max_new_tokens=max_new_tokens)[0]
