"""What can be said and asked of a scene."""

from functools import partial

import numpy as np

from vtok.data.clip import Question
from vtok.data.sources.shapes.scene import CAMERAS, COLOURS, COUNTS, DIRECTIONS, OBJECTS, SPEEDS, Scene, Thing

CHOICES = 4


def caption(scene: Scene) -> str:
    """One sentence that holds every attribute that `attributes` names."""
    first = scene.things[0]
    if scene.family == "count":
        number = len(scene.things)
        return (
            f"{COUNTS[number - 1]} {first.colour} {first.kind if number == 1 else _plural(first.kind)} standing still"
        )
    if scene.family == "camera":
        return f"the camera {scene.camera} past a {first.name}"
    return " and ".join(_sentence(thing) for thing in scene.things)


def attributes(scene: Scene) -> dict[str, str]:
    """The truth by category; of the first thing where there are two."""
    first = scene.things[0]
    truth = {"object": first.kind, "colour": first.colour}
    if scene.family == "motion":
        truth |= {"motion_direction": first.moves[0], "speed": str(first.speed)}
    if scene.family == "order":
        truth |= {"order": " then ".join(first.moves)}
    if scene.family == "count":
        truth |= {"count": COUNTS[len(scene.things) - 1]}
    if scene.family == "camera":
        truth |= {"camera": str(scene.camera)}
    return truth


def questions(scene: Scene, rng: np.random.Generator, claimed: dict[str, bool] | None = None) -> tuple[Question, ...]:
    """For every category of the scene one multiple-choice and one yes/no question.

    Args:
        scene: what is asked about.
        rng: draws the choices and what is claimed.
        claimed: categories whose last yes/no question has no counterpart yet, and whether it claimed the truth. The
            next one claims the opposite, so that half of each category's are true, however many clips are looked at.
    """
    ask = partial(_ask, rng, {} if claimed is None else claimed)
    first = scene.things[0]
    alone = len({thing.name for thing in scene.things}) == 1
    thing = "object" if alone else first.name
    by_colour = "object" if alone else first.kind
    by_kind = "object" if alone else f"{first.colour} object"
    asked = [
        ask("colour", f"what colour is the {by_colour}?", "is it {}?", first.colour, tuple(COLOURS)),
        ask("object", f"what shape is the {by_kind}?", "is it a {}?", first.kind, OBJECTS),
    ]
    if scene.family == "motion":
        asked += [
            ask(
                "motion_direction",
                f"which way does the {thing} move?",
                f"does the {thing} move {{}}?",
                first.moves[0],
                tuple(DIRECTIONS),
            ),
            ask("speed", f"how fast is the {thing}?", f"is the {thing} {{}}?", str(first.speed), tuple(SPEEDS)),
        ]
    if scene.family == "order":
        asked += [
            ask(
                "order",
                f"which way does the {thing} move first?",
                f"does the {thing} move {{}} first?",
                first.moves[0],
                first.moves,
            )
        ]
    if scene.family == "count":
        truth = COUNTS[len(scene.things) - 1]
        asked += [ask("count", "how many objects are there?", "are there {}?", truth, COUNTS)]
    if scene.family == "camera":
        asked += [ask("camera", "what does the camera do?", "is it true that it {}?", str(scene.camera), CAMERAS)]
    return tuple(question for pair in asked for question in pair)


def _ask(
    rng: np.random.Generator,
    claimed: dict[str, bool],
    category: str,
    open_text: str,
    yes_no_text: str,
    answer: str,
    values: tuple[str, ...],
) -> tuple[Question, Question]:
    others = [value for value in values if value != answer]
    rng.shuffle(others)
    choices = [answer, *others[: CHOICES - 1]]
    rng.shuffle(choices)
    truth = bool(rng.integers(2))
    if category in claimed:
        truth = not claimed.pop(category)
    else:
        claimed[category] = truth
    claim = answer if truth else others[0]
    return (
        Question(category=category, kind="choice", text=open_text, answer=answer, choices=tuple(choices)),
        Question(
            category=category,
            kind="yes_no",
            text=yes_no_text.format(claim),
            answer="yes" if truth else "no",
            choices=("yes", "no"),
        ),
    )


def _sentence(thing: Thing) -> str:
    moves = " then ".join(thing.moves)
    return f"a {thing.speed} {thing.name} moves {moves}" if thing.speed else f"a {thing.name} moves {moves}"


def _plural(kind: str) -> str:
    return f"{kind}es" if kind == "cross" else f"{kind}s"
