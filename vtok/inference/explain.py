"""Explains an answer about a video by its tokens, as a picture."""

from pathlib import Path

import torch
from omegaconf import DictConfig

from vtok.common.files import atomic_file
from vtok.common.style import Theme
from vtok.data import Clip
from vtok.evaluation.explain import Explanation, explain_answer
from vtok.evaluation.explain_picture import FRAME, draw_explanation
from vtok.inference.clip import read_clip
from vtok.inference.picture import picture_of
from vtok.model import VideoLanguageModel
from vtok.model.batch import stack_frames


def write_explanation(
    config: DictConfig,
    model: VideoLanguageModel,
    video: str | Clip,
    *,
    prompt: str,
    answer: str,
    path: Path,
    theme: Theme,
    start: float = 0.0,
) -> Explanation:
    """Write a PNG of which tokens of a video an answer used, atomically; returns what it shows.

    Args:
        config: configuration of the run.
        model: model of the run, in evaluation mode.
        video: video file or folder of frames, or a clip of the run's data.
        prompt: question or request to the model.
        answer: the answer to explain.
        path: file to write; it is replaced.
        theme: colours of the picture.
        start: time in a file at which the clip starts, in seconds.

    Raises:
        UserError: if the video cannot be read or drawn, the texts are too long, or the file cannot be written.
    """
    sample, times = read_clip(config, model.tokeniser.planner, video, start=start)
    # Two pixels for each hundredth of an inch.
    picture = picture_of(config, model.tokeniser, video, sample, times, frame_size=2 * FRAME, start=start)
    with torch.no_grad():
        tokens = model.tokeniser.encode_planned(stack_frames([sample]).to(next(model.parameters()).device))
    explanation = explain_answer(model, tokens, prompt, answer)
    with atomic_file(path) as partial:
        draw_explanation(explanation, picture, partial, theme=theme)
    return explanation
