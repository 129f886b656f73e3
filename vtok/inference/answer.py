"""Answers a question about a video with a trained model."""

from pathlib import Path

from omegaconf import DictConfig

from vtok.common.errors import UserError
from vtok.inference.clip import read_clip
from vtok.model import VideoLanguageModel
from vtok.model.batch import stack_frames


def check_text(name: str, text: str | None) -> None:
    """Refuse a text that is not valid Unicode, such as a command-line argument in another encoding.

    Raises:
        UserError: if a character is not valid.
    """
    try:
        (text or "").encode()
    except UnicodeEncodeError as error:
        raise UserError(
            f"{name}={text!r}: character {error.start + 1} is not valid text. Type it in a terminal that uses UTF-8."
        ) from error


def check_understands(run_dir: Path, model: VideoLanguageModel) -> None:
    """Raise UserError if the run's model was not trained to answer questions."""
    if not model.objective.understands:
        raise UserError(
            f"run={run_dir}: its objective.lambda_under is 0, and it was not trained to answer questions about videos. "
            "Use a run with objective=understanding or objective=joint."
        )


def answer(
    config: DictConfig, model: VideoLanguageModel, video: str, *, prompt: str, start: float, max_new_tokens: int
) -> str:
    """The answer of a loaded model to a question about a video; see `vtok.cli.verbs.describe`.

    Args:
        config: configuration of the run.
        model: model of the run.
        video: video file or folder of frames.
        prompt: question or request to the model.
        start: time in the video at which the clip starts, in seconds.
        max_new_tokens: longest answer, in tokens, >= 1.

    Raises:
        UserError: if an argument is not valid, or the video cannot be read.
    """
    check_text("prompt", prompt)
    if max_new_tokens < 1:
        raise UserError(f"max_new_tokens={max_new_tokens}: must be an integer >= 1. Use max_new_tokens=64.")
    sample, _ = read_clip(config, model.tokeniser.planner, video, start=start)
    frames = stack_frames([sample]).to(next(model.parameters()).device)
    return model.describe(frames, [prompt], max_new_tokens=max_new_tokens)[0]
