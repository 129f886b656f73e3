"""Explains answers about videos by their tokens, as pictures."""

from collections.abc import Sequence
from pathlib import Path

import torch
from omegaconf import DictConfig

from vtok.common.errors import UserError
from vtok.common.files import atomic_file
from vtok.common.style import LIGHT, Theme
from vtok.data import Clip
from vtok.evaluation.answers import Answer, read_answers
from vtok.evaluation.explain import Explanation, explain_answer
from vtok.evaluation.explain_picture import FRAME, draw_explanation
from vtok.inference.clip import read_clip
from vtok.inference.load import load_run
from vtok.inference.picture import picture_of
from vtok.model import VideoLanguageModel
from vtok.model.batch import stack_frames
from vtok.model.build import build
from vtok.runs.answered import ANSWERS
from vtok.runs.samples import explanation_file, explanation_files


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


def explain_test_answers(run: str, *, number: int, outputs: str, allowed_targets: Sequence[str] = ()) -> None:
    """Write pictures of which tokens a run used for its answers to test questions, into the run folder.

    They replace earlier ones. Each is the answer to the first choice question of another category.

    Args:
        run: a run folder with a checkpoint and `answers.parquet`.
        number: largest number of answers, >= 1.
        outputs: folder in which the clips of a moved run are looked for; see `load_run`.
        allowed_targets: packages of the user's own whose components may be built.

    Raises:
        UserError: the run cannot be loaded, has answered no choice questions, or its test clips cannot be read.
    """
    run_dir, config, model = load_run(run, outputs=outputs, allowed_targets=allowed_targets, clips=True)
    first: dict[str, Answer] = {}
    for answer in read_answers(run_dir / ANSWERS):
        if answer.kind == "choice":
            first.setdefault(answer.category, answer)
    if not first:
        raise UserError(f"{run_dir}: the run answered no choice questions. Set explain=0 for runs that only generate.")
    source = build(config.data)
    source.prepare()
    clips = {(clip.source, clip.id): clip for clip in source.clips("test")}
    explained = list(first.values())[:number]
    for answer in explained:
        if (answer.source, answer.clip) not in clips:
            raise UserError(
                f"{run_dir}: its test clip {answer.clip} is no longer in its data. "
                f"Use vtok evaluate run={run_dir} first, or explain=0."
            )
    for earlier in explanation_files(run_dir):
        earlier.unlink()
    for place, answer in enumerate(explained):
        clip, path = clips[answer.source, answer.clip], explanation_file(run_dir, place)
        write_explanation(config, model, clip, prompt=answer.question, answer=answer.answer, path=path, theme=LIGHT)
