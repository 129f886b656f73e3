"""A judge that is the model itself: its understanding branch looks at what its generation branch made."""

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
    """The likeliest choice, to the model, of each of the clip's choice questions, as `evaluation.score=token` has it.

    It is as good as the model is at understanding: compare its figures with what it says of true clips.

    Args:
        sequences_at_once: question-and-choice sequences that go through the language model together.
    """

    uses_the_model = True

    def __init__(self, *, sequences_at_once: Count = 512) -> None:
        self.sequences_at_once = sequences_at_once

    def truths(self, clip: Clip) -> dict[str, str]:
        return {category: question.answer for category, question in choice_questions(clip).items()}

    def __call__(
        self, model: VideoLanguageModel, videos: Tensor, clips: Sequence[Clip], *, num_frames: int
    ) -> list[dict[str, Verdict]]:
        """Raises UserError where the model has no understanding branch."""
        if not model.objective.understands:
            raise UserError(
                "generation/judge=own: objective.lambda_under=0, so that this model understands no videos; "
                "allowed are generation/judge=oracle for data=shapes and generation/judge=vlm."
            )
        planned = planned_frames(model.tokeniser, videos.to(next(model.parameters()).device), num_frames)
        video = model.tokeniser.encode_planned(planned)
        asked = [(row, question) for row, clip in enumerate(clips) for question in choice_questions(clip).values()]
        answers = choose(model, video, asked, sequences_at_once=self.sequences_at_once)
        verdicts: list[dict[str, Verdict]] = [{} for _ in clips]
        for (row, question), answer in zip(asked, answers, strict=True):
            verdicts[row][question.category] = Verdict(answer, question.answer, question.choices)
        return verdicts


def choice_questions(clip: Clip) -> dict[str, Question]:
    """The clip's questions that have choices other than yes and no, the first of each category."""
    asked: dict[str, Question] = {}
    for question in clip.questions:
        if question.kind == "choice":
            asked.setdefault(question.category, question)
    return asked


def planned_frames(tokeniser: Tokeniser, videos: Tensor, num_frames: int) -> PlannedFrames:
    """What the tokeniser plans of a clip of `num_frames`, each frame the nearest in time of videos (B, F, 3, H, W).

    Timestamps are frame numbers.
    """
    batch, made = videos.shape[:2]
    plan = tokeniser.plan(num_frames)
    shown = np.array(TargetPlan(num_frames=made, size=videos.shape[-1]).indices(num_frames))
    chosen = nearest(shown, np.array(plan.indices))
    return PlannedFrames(
        frames=videos[:, torch.from_numpy(chosen).to(videos.device)],
        key=torch.full((batch,), -1 if plan.key is None else plan.key, device=videos.device),
        mask=torch.ones(batch, len(chosen), dtype=torch.bool, device=videos.device),
        timestamps=torch.tensor(plan.indices, dtype=torch.float32, device=videos.device).expand(batch, -1),
    )
