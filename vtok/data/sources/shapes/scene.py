"""Random scenes of synthetic clips: objects, their moves, the camera. Lengths are fractions of the frame's side."""

from collections.abc import Collection
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

OBJECTS = ("circle", "square", "triangle", "cross")
COLOURS = {
    "red": (214, 40, 40),
    "green": (40, 160, 60),
    "blue": (40, 70, 220),
    "yellow": (235, 205, 40),
    "purple": (150, 50, 190),
    "white": (245, 245, 245),
}
DIRECTIONS = {"left": (-1.0, 0.0), "right": (1.0, 0.0), "up": (0.0, -1.0), "down": (0.0, 1.0)}
SPEEDS = {"slow": (0.12, 0.17), "fast": (0.28, 0.34)}
COUNTS = ("one", "two", "three", "four")
CAMERAS = ("pans left", "pans right", "zooms in", "zooms out")
LEVELS = ("easy", "hard")
# Skills and their shares of the clips.
FAMILIES = {"motion": 0.5, "order": 0.15, "count": 0.15, "camera": 0.2}


@dataclass(frozen=True)
class SceneObject:
    """A coloured shape that moves.

    Attributes:
        kind: one of OBJECTS.
        colour: one of COLOURS.
        radius: radius of the shape.
        start: (x, y) of the centre in the first frame.
        moves: directions of the moves, one after the other, which take equal parts of the clip.
        speed: one of SPEEDS; None if the object does not move, or changes direction.
        distance: length of each move.
    """

    kind: str
    colour: str
    radius: float
    start: tuple[float, float]
    moves: tuple[str, ...] = ()
    speed: str | None = None
    distance: float = 0.0

    @property
    def name(self) -> str:
        return f"{self.colour} {self.kind}"


@dataclass(frozen=True)
class Scene:
    """A clip before rendering. `family` is the skill that it tests, `texture` the contrast of the background."""

    family: str
    objects: tuple[SceneObject, ...]
    camera: str | None
    background: tuple[int, int, int]
    texture: float
    seed: int


def sample_scene(rng: np.random.Generator, level: str, families: Collection[str] = tuple(FAMILIES)) -> Scene:
    """A random scene of a level ("easy" or "hard") and of one of `families`, in proportion to their shares.

    Easy: one skill a clip (an object that moves; one that changes direction; several that stand still; a camera that
    moves past an object) on a plain background. Hard: textured and coloured backgrounds, smaller objects, a second
    moving object, and objects that move while the camera moves.

    The first frame does not reveal the moves: positions and sizes come from the same ranges for all moves of objects
    and camera.
    """
    seed = int(rng.integers(2**31))
    shares = {family: share for family, share in FAMILIES.items() if family in families}
    family = str(rng.choice(list(shares), p=np.array(list(shares.values())) / sum(shares.values())))
    hard = level == "hard"
    texture = float(rng.uniform(0.15, 0.35)) if hard or family == "camera" else 0.0
    red, green, blue = rng.integers(70, 130, size=3).tolist() if hard else (int(rng.integers(70, 130)),) * 3
    camera = str(rng.choice(CAMERAS)) if family == "camera" else None
    if family == "count":
        objects = _standing_objects(rng, number=1 + int(rng.integers(len(COUNTS))))
    elif family == "camera":
        objects = (_object(rng, hard=hard, moves=_moves(rng, number=1) if hard else ()),)
    else:
        objects = (_object(rng, hard=hard, moves=_moves(rng, number=2 if family == "order" else 1)),)
        if hard:
            objects = (*objects, _companion(rng, objects[0]))
    return Scene(
        family=family, objects=objects, camera=camera, background=(red, green, blue), texture=texture, seed=seed
    )


def is_unusual(scene: Scene) -> bool:
    """Whether an object has one of the combinations of colour and action that `unseen` keeps for test clips.

    An action is a direction (the first of several), a number of objects, or what the camera does: four in each family.
    Each colour lacks one of them in training, a quarter of the combinations.
    """
    return any((list(COLOURS).index(one.colour) + _action(scene, one)) % 4 == 0 for one in scene.objects)


def _action(scene: Scene, one: SceneObject) -> int:
    """The number, 0 to 3, of what is to be seen of an object besides what it is."""
    if scene.camera is not None:
        return CAMERAS.index(scene.camera)
    return list(DIRECTIONS).index(one.moves[0]) if one.moves else len(scene.objects) - 1


def _moves(rng: np.random.Generator, *, number: int) -> tuple[str, ...]:
    while True:
        moves = tuple(str(rng.choice(list(DIRECTIONS))) for _ in range(number))
        if all(first != second for first, second in pairwise(moves)):
            return moves


def _object(rng: np.random.Generator, *, hard: bool, moves: tuple[str, ...]) -> SceneObject:
    radius = float(rng.uniform(0.08, 0.11) if hard else rng.uniform(0.11, 0.14))
    start = (float(rng.uniform(0.36, 0.64)), float(rng.uniform(0.36, 0.64)))
    speed = str(rng.choice(list(SPEEDS))) if len(moves) == 1 else None
    distance = float(rng.uniform(*SPEEDS[speed])) if speed else (0.25 if moves else 0.0)
    return SceneObject(
        kind=str(rng.choice(OBJECTS)),
        colour=str(rng.choice(list(COLOURS))),
        radius=radius,
        start=start,
        moves=moves,
        speed=speed,
        distance=distance,
    )


def _companion(rng: np.random.Generator, first: SceneObject) -> SceneObject:
    """A second moving object of another kind and colour, at a distance from the first."""
    while True:
        second = _object(rng, hard=True, moves=_moves(rng, number=1))
        start = (float(rng.uniform(0.2, 0.8)), float(rng.uniform(0.2, 0.8)))
        apart = np.hypot(start[0] - first.start[0], start[1] - first.start[1]) > 0.3
        if apart and second.kind != first.kind and second.colour != first.colour:
            return SceneObject(**{**second.__dict__, "start": start})


def _standing_objects(rng: np.random.Generator, *, number: int) -> tuple[SceneObject, ...]:
    """Identical objects in distinct cells of a jittered 2 x 2 grid."""
    kind, colour = str(rng.choice(OBJECTS)), str(rng.choice(list(COLOURS)))
    cells = rng.permutation(4)[:number]
    radius = float(rng.uniform(0.09, 0.12))
    return tuple(
        SceneObject(
            kind=kind,
            colour=colour,
            radius=radius,
            start=(
                float(0.28 + 0.44 * (cell % 2) + rng.uniform(-0.06, 0.06)),
                float(0.28 + 0.44 * (cell // 2) + rng.uniform(-0.06, 0.06)),
            ),
        )
        for cell in cells
    )
