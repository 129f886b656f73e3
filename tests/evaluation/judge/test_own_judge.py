"""The model as its own judge: its answers about a generated video, and the frames that it gets."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from vtok.backbone import TinyBackbone
from vtok.common.errors import UserError
from vtok.data import Clip, Question
from vtok.evaluation.choice import choose
from vtok.evaluation.judge import OwnJudge
from vtok.evaluation.judge.own import choice_questions, planned_frames
from vtok.model import VideoLanguageModel
from vtok.tokeniser import KeyFrameTokeniser, Tokeniser, VTokTokeniser

WORDS = ("red", "yellow", "green", "blue", "purple", "white", "grey", "one", "two", "three")
COLOUR = Question("colour", "choice", "what colour is it?", "red", WORDS)
COUNT = Question("count", "choice", "how many objects are there?", "two", WORDS[::-1])
MOVES = Question("motion_direction", "yes_no", "does it move left?", "yes", ("yes", "no"))
OPEN = Question("other", "open", "what is it?", "a dog")
MakeModel = Callable[..., VideoLanguageModel]


def clip(*questions: Question) -> Clip:
    return Clip(id="a", path=Path("none"), caption="a dog", questions=questions)


def numbered(number: int, *, size: int = 16) -> torch.Tensor:
    """One video whose frames are their own numbers, (1, number, 3, size, size)."""
    return torch.arange(number, dtype=torch.uint8)[None, :, None, None, None].expand(1, -1, 3, size, size)


@pytest.mark.parametrize("at_once", [1, 512])
def test_verdicts_are_the_models_answers_about_the_frames(make_model: MakeModel, at_once: int) -> None:
    """A video with as many frames as the clip is tokenised like the clip."""
    model = make_model()
    videos = torch.randint(0, 256, (3, 8, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    clips = [clip(COLOUR, MOVES), clip(OPEN, COUNT, COLOUR), clip(MOVES)]
    asked = [(0, COLOUR), (1, COUNT), (1, COLOUR)]
    with torch.no_grad():
        verdicts = OwnJudge(sequences_at_once=at_once)(model, videos, clips, num_frames=8, intervals=[1.0] * 3)
        answers = [
            choose(model, model.tokeniser.encode(videos[row : row + 1]), [(0, question)], sequences_at_once=100)[0]
            for row, question in asked
        ]
    assert [one.keys() for one in verdicts] == [{"colour"}, {"count", "colour"}, set()]
    for (row, question), answer in zip(asked, answers, strict=True):
        verdict = verdicts[row][question.category]
        assert (verdict.seen, verdict.truth, verdict.choices) == (answer, question.answer, question.choices)


def test_a_model_without_understanding_cannot_judge(make_model: MakeModel) -> None:
    model = make_model(lambdas=(0.0, 1.0, 1.0))
    with pytest.raises(UserError, match=r"^generation/judge=own: objective\.lambda_under=0, .*judge=oracle.*judge=vlm"):
        OwnJudge()(model, numbered(4), [clip(COLOUR)], num_frames=19, intervals=[0.1])


def test_clips_with_choices_other_than_yes_and_no_are_judged() -> None:
    judge = OwnJudge()
    assert judge.can_judge(clip(OPEN, COLOUR))
    assert not judge.can_judge(clip(OPEN, MOVES))
    assert not judge.can_judge(clip())


def test_the_first_question_of_a_category_is_asked() -> None:
    again = Question("colour", "choice", "which colour has it?", "red", ("red", "blue"))
    assert choice_questions(clip(OPEN, MOVES, COLOUR, COUNT, again)) == {"colour": COLOUR, "count": COUNT}


def tokeniser(**settings: object) -> Tokeniser:
    return VTokTokeniser(TinyBackbone(feature_dim=16, width=8), grid_size=2, **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("made", "num_frames", "stride", "expected"),
    [
        # 8 frames of a clip of 30 are its frames 0, 4, 8, 12, 17, 21, 25 and 29; the plan has 0, 6, 12, 18 and 24.
        (8, 30, 6, [0, 1, 3, 4, 6]),
        # As many frames as the clip: those of the plan.
        (13, 13, 4, [0, 4, 8, 12]),
        # Fewer frames than planned: 0 and 12 of 13; the earlier one if both are equally near.
        (2, 13, 3, [0, 0, 0, 1, 1]),
        (1, 13, 6, [0, 0, 0]),
        (3, 1, 6, [0]),
    ],
)
def test_each_sampled_frame_is_the_nearest_generated_one(
    made: int, num_frames: int, stride: int, expected: list[int]
) -> None:
    planned = planned_frames(
        tokeniser(stride=stride), numbered(made).expand(2, -1, -1, -1, -1), num_frames, [0.5, 0.25]
    )
    assert planned.frames.shape == (2, len(expected), 3, 16, 16)
    assert planned.frames[:, :, 0, 0, 0].tolist() == [expected] * 2
    frames = [stride * number for number in range(len(expected))]
    assert planned.timestamps.tolist() == [[0.5 * frame for frame in frames], [0.25 * frame for frame in frames]]
    assert planned.mask.tolist() == [[True] * len(expected)] * 2
    assert planned.key.tolist() == [0, 0]


def test_the_key_frame_is_the_tokenisers() -> None:
    assert planned_frames(tokeniser(key_frame="medoid"), numbered(8), 30, [0.5]).key.tolist() == [-1]
    middle = planned_frames(tokeniser(key_frame="middle", stride=10), numbered(8), 30, [0.5])
    assert (middle.key.tolist(), middle.frames[0, :, 0, 0, 0].tolist()) == ([1], [0, 2, 5])
    alone = KeyFrameTokeniser(TinyBackbone(feature_dim=16, width=8), grid_size=2, key_frame=-1)
    last = planned_frames(alone, numbered(8), 30, [0.5])
    assert last.frames[0, :, 0, 0, 0].tolist() == [7]
    assert last.timestamps.tolist() == [[14.5]]
