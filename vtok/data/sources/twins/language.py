"""Questions about a version of a clip."""

from typing import NamedTuple

from vtok.common.hashing import stable_hash
from vtok.data.clip import Question
from vtok.data.sources.twins.versions import ANSWERS, Category


class Wording(NamedTuple):
    """A question with choices, and a claim with a place for one of them, which is true or false."""

    choice: str
    claim: str


WORDINGS: dict[Category, tuple[Wording, ...]] = {
    "arrow": (
        Wording("does the video run forwards or backwards?", "does the video run {}?"),
        Wording("in which direction of time is the video played?", "is the video played {}?"),
        Wording("is this video shown forwards or backwards?", "is this video shown {}?"),
    ),
    "order": (
        Wording("in what order are the two halves of the video?", "are the two halves of the video {}?"),
        Wording("are the halves of the video as filmed or swapped?", "are the halves of the video {}?"),
        Wording("the video consists of two parts. how are they arranged?", "are the two parts of the video {}?"),
    ),
    "speed": (
        Wording("which half of the video runs faster?", "is {} of the video the faster one?"),
        Wording("in which half is the video played at the higher speed?", "does {} of the video run faster?"),
        Wording("one half of the video is sped up. which one?", "is {} of the video sped up?"),
    ),
    "freeze": (
        Wording("which part of the video stands still?", "does {} of the video stand still?"),
        Wording("where does the video freeze?", "is {} of the video frozen?"),
        Wording("which part of the video is a still picture?", "is {} of the video a still picture?"),
    ),
    "odd": (
        Wording("where in the video is a frame out of place?", "does a frame out of place come {}?"),
        Wording("one frame does not belong where it is. where is it?", "does a wrong frame appear {}?"),
        Wording("when is the video interrupted by a misplaced frame?", "does a misplaced frame come {}?"),
    ),
    "pan": (
        Wording("which way does the camera pan?", "does the camera pan {}?"),
        Wording("does the camera turn left or right?", "does the camera turn {}?"),
        Wording("to which side does the view travel?", "does the view travel {}?"),
    ),
    "tilt": (
        Wording("which way does the camera tilt?", "does the camera tilt {}?"),
        Wording("does the camera move up or down?", "does the camera move {}?"),
        Wording("does the view travel up or down?", "does the view travel {}?"),
    ),
    "zoom": (
        Wording("which way does the camera zoom?", "does the camera zoom {}?"),
        Wording("does the camera zoom in or out?", "is the camera zooming {}?"),
        Wording("is the video zooming in or out?", "is the video zooming {}?"),
    ),
    "left_right": (
        Wording("which way does most of the motion go?", "does most of the motion go {}?"),
        Wording("do things move left or right?", "do things move {}?"),
        Wording("to which side is the motion in the video?", "is the motion in the video to the {}?"),
    ),
    "up_down": (
        Wording("does most of the motion go up or down?", "does most of the motion go {}?"),
        Wording("do things move up or down?", "do things move {}?"),
        Wording("is the motion in the video upwards or downwards?", "is the motion in the video {}wards?"),
    ),
}


def questions(clip_id: str, category: Category, answer: str) -> tuple[Question, ...]:
    """A multiple-choice question, a true and a false claim.

    Wording, order of the choices and order of the claims follow from the clip and the category, so that all versions of
    a clip are asked in the same words. Claims are paired with answers in a cycle: over the versions of a clip, each
    claim is as often true as false, and so does not give its own truth away.

    Args:
        clip_id: id of the clip of which this is a version.
        category: category of the version.
        answer: true answer of the version.
    """
    answers = ANSWERS[category]
    draw = stable_hash("twins", clip_id, category)
    wording = WORDINGS[category][draw % len(WORDINGS[category])]
    turn = draw // 7 % len(answers)
    choices = answers[turn:] + answers[:turn]
    step = 1 + draw // 11 % (len(answers) - 1)
    other = answers[(answers.index(answer) + step) % len(answers)]
    claims = sorted(((answer, "yes"), (other, "no")), key=lambda claim: stable_hash(clip_id, category, claim[0]))
    return (
        Question(category=category, kind="choice", text=wording.choice, answer=answer, choices=choices),
        *(
            Question(
                category=category, kind="yes_no", text=wording.claim.format(about), answer=truth, choices=("yes", "no")
            )
            for about, truth in claims
        ),
    )
