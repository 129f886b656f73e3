"""vtok describe: a run's model on a video."""

from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig

from vtok.batch import stack_frames
from vtok.commands.clip import read_clip
from vtok.commands.making import check_numbers, check_text
from vtok.commands.prepare import load_run
from vtok.errors import UserError
from vtok.model import DESCRIBE, VideoLanguageModel


def describe(
    *,
    video: str,
    prompt: str = DESCRIBE,
    run: str = "latest",
    start: float = 0.0,
    max_new_tokens: int = 64,
    outputs: str = "outputs",
    allowed_targets: Sequence[str] = (),
) -> str:
    """The answer to `prompt` about the clip that begins `start` seconds into a video file or a folder of frames.

    Raises:
        UserError: the video cannot be read, there is no such run, or it did not learn to answer.
    """
    check_question(prompt, max_new_tokens)
    run_dir, config, model = load_run(run, outputs=outputs, allowed_targets=allowed_targets)
    check_understands(run_dir, model)
    return answer(config, model, video, prompt=prompt, start=start, max_new_tokens=max_new_tokens)


def check_question(prompt: str, max_new_tokens: int) -> None:
    """Refuse what was said on the command line, before anything is loaded."""
    check_text("prompt", prompt)
    check_numbers({"max_new_tokens": max_new_tokens}, fps=None)


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
    check_question(prompt, max_new_tokens)
    sample, _ = read_clip(config, model.tokeniser.planner, video, start=start)
    frames = stack_frames([sample]).to(next(model.parameters()).device)
    return model.describe(frames, [prompt], max_new_tokens=max_new_tokens)[0]
