"""The model as its own judge: its understanding branch answers questions about its generated videos."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from vtok.common.errors import UserError
from vtok.common.setting_types import Count
from vtok.data import Clip, Question
from vtok.data.plan import TargetPlan
from vtok.data.video.read import nearest
from vtok.evaluation.choice import choose
from vtok.evaluation.judge.base import Judge, Verdict
from vtok.model import VideoLanguageModel
from vtok.tokeniser import PlannedFrames, Tokeniser


class OwnJudge(Judge):
    """Sees the choice that the model itself finds most likely, for each choice question (by `evaluation.score=token`).

    The judge is only as good as the model's understanding: compare its metrics with the model's answers on true clips.

    Args:
        sequences_at_once: largest number of question-and-choice sequences in a forward pass of the language model.
    """

    uses_the_model = True

    def __init__(self, *, sequences_at_once: Count = 512) -> None:
        self.sequences_at_once = sequences_at_once

    def truths(self, clip: Clip) -> dict[str, str]:
        return {category: question.answer for category, question in choice_questions(clip).items()}

    def __call__(
        self,
        model: VideoLanguageModel,
        videos: Tensor,
        clips: Sequence[Clip],
        *,
        num_frames: int,
        intervals: Sequence[float],
    ) -> list[dict[str, Verdict]]:
        """As in `Judge`.

        Raises:
            UserError: the model has no understanding branch.
        """
        if not model.objective.understands:
            raise UserError(
                "generation/judge=own: objective.lambda_under=0, so this model cannot answer questions. "
                "Set generation/judge=oracle for data=shapes, or generation/judge=vlm."
            )
        planned = planned_frames(model.tokeniser, videos.to(next(model.parameters()).device), num_frames, intervals)
        video = model.tokeniser.encode_planned(planned)
        asked = [(row, question) for row, clip in enumerate(clips) for question in choice_questions(clip).values()]
        answers = choose(model, video, asked, sequences_at_once=self.sequences_at_once)
        verdicts: list[dict[str, Verdict]] = [{} for _ in clips]
        for (row, question), answer in zip(asked, answers, strict=True):
            verdicts[row][question.category] = Verdict(answer, question.answer, question.choices)
        return verdicts


def choice_questions(clip: Clip) -> dict[str, Question]:
    """The first choice question of each category; yes-or-no questions are not among them."""
    asked: dict[str, Question] = {}
    for question in clip.questions:
        if question.kind == "choice":
            asked.setdefault(question.category, question)
    return asked


def planned_frames(tokeniser: Tokeniser, videos: Tensor, num_frames: int, intervals: Sequence[float]) -> PlannedFrames:
    """The frames that the tokeniser samples from a clip of `num_frames`, taken from videos (B, F, 3, H, W).

    Each sampled frame is the video's nearest in time. `intervals`: B seconds between two frames of each clip.
    """
    batch, made = videos.shape[:2]
    plan = tokeniser.plan(num_frames)
    shown = np.array(TargetPlan(num_frames=made, size=videos.shape[-1]).indices(num_frames))
    chosen = nearest(shown, np.array(plan.indices))
    planned = PlannedFrames(
        frames=videos[:, torch.from_numpy(chosen).to(videos.device)],
        key=torch.full((batch,), -1 if plan.key is None else plan.key, device=videos.device),
        mask=torch.ones(batch, len(chosen), dtype=torch.bool, device=videos.device),
        timestamps=torch.tensor(np.outer(intervals, plan.indices), dtype=torch.float32, device=videos.device),
    )
    return planned.kept(plan.change)
