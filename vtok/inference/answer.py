"""What a trained model answers about a video."""

from pathlib import Path

from omegaconf import DictConfig

from vtok.common.errors import UserError
from vtok.inference.clip import read_clip
from vtok.model import VideoLanguageModel
from vtok.model.batch import stack_frames


def check_text(name: str, text: str | None) -> None:
    """Refuse a text that is not one, as bytes of another encoding are on a command line.

    Raises:
        UserError: it holds half a character.
    """
    try:
        (text or "").encode()
    except UnicodeEncodeError as error:
        raise UserError(
            f"{name}={text!r}: character {error.start + 1} is not text. Type it in UTF-8, as your terminal should."
        ) from error


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
