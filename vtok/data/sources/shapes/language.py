"""Captions, attributes and questions of a scene."""

from functools import partial

import numpy as np

from vtok.data.clip import Question
from vtok.data.sources.shapes.scene import CAMERAS, COLOURS, COUNTS, DIRECTIONS, OBJECTS, SPEEDS, Scene, SceneObject

CHOICES = 4


def caption(scene: Scene) -> str:
    """A sentence with every attribute that `attributes` returns."""
    first = scene.objects[0]
    if scene.family == "count":
        number = len(scene.objects)
        return (
            f"{COUNTS[number - 1]} {first.colour} {first.kind if number == 1 else _plural(first.kind)} standing still"
        )
    if scene.family == "camera":
        return f"the camera {scene.camera} past a {first.name}"
    return " and ".join(_sentence(one) for one in scene.objects)


def attributes(scene: Scene) -> dict[str, str]:
    """The true values by category; of the first object if there are two."""
    first = scene.objects[0]
    truth = {"object": first.kind, "colour": first.colour}
    if scene.family == "motion":
        truth |= {"motion_direction": first.moves[0], "speed": str(first.speed)}
    if scene.family == "order":
        truth |= {"order": " then ".join(first.moves)}
    if scene.family == "count":
        truth |= {"count": COUNTS[len(scene.objects) - 1]}
    if scene.family == "camera":
        truth |= {"camera": str(scene.camera)}
    return truth


def questions(scene: Scene, rng: np.random.Generator, *, false_claims: int = 1) -> tuple[Question, ...]:
    """A multiple-choice question for every category of the scene, a true claim and some false ones.

    Args:
        scene: scene of the clip.
        rng: random generator of the choices.
        false_claims: number of false claims in yes/no questions; fewer where there are not so many wrong choices. With
            one, half of the claims are true.
    """
    ask = partial(_ask, rng, false_claims)
    first = scene.objects[0]
    alone = len({one.name for one in scene.objects}) == 1
    name = "object" if alone else first.name
    by_colour = "object" if alone else first.kind
    by_kind = "object" if alone else f"{first.colour} object"
    asked = [
        ask(
            "colour",
            f"what colour is the {by_colour}?",
            f"is the colour of the {by_colour} {{}}?",
            first.colour,
            tuple(COLOURS),
        ),
        ask("object", f"what shape is the {by_kind}?", f"is the shape of the {by_kind} a {{}}?", first.kind, OBJECTS),
    ]
    if scene.family == "motion":
        asked += [
            ask(
                "motion_direction",
                f"which way does the {name} move?",
                f"does the {name} move {{}}?",
                first.moves[0],
                tuple(DIRECTIONS),
            ),
            ask("speed", f"how fast is the {name}?", f"is the {name} {{}}?", str(first.speed), tuple(SPEEDS)),
        ]
    if scene.family == "order":
        asked += [
            ask(
                "order",
                f"which way does the {name} move first?",
                f"does the {name} move {{}} first?",
                first.moves[0],
                first.moves,
            )
        ]
    if scene.family == "count":
        truth = COUNTS[len(scene.objects) - 1]
        asked += [ask("count", "how many objects are there?", "is the number of objects {}?", truth, COUNTS)]
    if scene.family == "camera":
        asked += [
            ask("camera", "what does the camera do?", "is it true that the camera {}?", str(scene.camera), CAMERAS)
        ]
    return tuple(question for about in asked for question in about)


def _ask(
    rng: np.random.Generator,
    false_claims: int,
    category: str,
    open_text: str,
    yes_no_text: str,
    answer: str,
    values: tuple[str, ...],
) -> tuple[Question, ...]:
    others = [value for value in values if value != answer]
    rng.shuffle(others)
    choices = [answer, *others[: CHOICES - 1]]
    claims = [(answer, "yes"), *((value, "no") for value in others[:false_claims])]
    rng.shuffle(choices)
    return (
        Question(category=category, kind="choice", text=open_text, answer=answer, choices=tuple(choices)),
        *(
            Question(
                category=category, kind="yes_no", text=yes_no_text.format(value), answer=truth, choices=("yes", "no")
            )
            for value, truth in claims
        ),
    )


def _sentence(one: SceneObject) -> str:
    moves = " then ".join(one.moves)
    return f"a {one.speed} {one.name} moves {moves}" if one.speed else f"a {one.name} moves {moves}"


def _plural(kind: str) -> str:
    return f"{kind}es" if kind == "cross" else f"{kind}s"
