"""What happens in a made clip: things, their moves, the camera. Lengths are fractions of the frame's side."""

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
# Each with its share of all clips.
FAMILIES = {"motion": 0.5, "order": 0.15, "count": 0.15, "camera": 0.2}


@dataclass(frozen=True)
class Thing:
    """A coloured shape.

    It starts at `start` and carries out `moves` (direction names) one after the other, each over `distance` and an
    equal part of the clip.
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
    """A clip before it is drawn. `family` is the skill the clip is about; `texture` the contrast of the background."""

    family: str
    things: tuple[Thing, ...]
    camera: str | None
    background: tuple[int, int, int]
    texture: float
    seed: int


def sample_scene(rng: np.random.Generator, level: str, families: Collection[str] = tuple(FAMILIES)) -> Scene:
    """A scene of the given level ("easy" or "hard") and of one of `families`, which keep their shares of each other.

    Easy: one skill a clip (a thing that moves; one that turns; several that stand still; a camera that moves past one)
    on a plain background. Hard: textured and coloured backgrounds, smaller things, a second thing that moves on its
    own, and things that move while the camera does.

    The first frame tells nothing of the moves that follow: places and sizes come from the same ranges whatever the
    direction and whatever the camera does.
    """
    seed = int(rng.integers(2**31))
    shares = {family: share for family, share in FAMILIES.items() if family in families}
    family = str(rng.choice(list(shares), p=np.array(list(shares.values())) / sum(shares.values())))
    hard = level == "hard"
    texture = float(rng.uniform(0.15, 0.35)) if hard or family == "camera" else 0.0
    red, green, blue = rng.integers(70, 130, size=3).tolist() if hard else (int(rng.integers(70, 130)),) * 3
    camera = str(rng.choice(CAMERAS)) if family == "camera" else None
    if family == "count":
        things = _standing_things(rng, number=1 + int(rng.integers(len(COUNTS))))
    elif family == "camera":
        things = (_thing(rng, hard=hard, moves=_moves(rng, number=1) if hard else ()),)
    else:
        things = (_thing(rng, hard=hard, moves=_moves(rng, number=2 if family == "order" else 1)),)
        if hard:
            things = (*things, _companion(rng, things[0]))
    return Scene(family=family, things=things, camera=camera, background=(red, green, blue), texture=texture, seed=seed)


def _moves(rng: np.random.Generator, *, number: int) -> tuple[str, ...]:
    while True:
        moves = tuple(str(rng.choice(list(DIRECTIONS))) for _ in range(number))
        if all(first != second for first, second in pairwise(moves)):
            return moves


def _thing(rng: np.random.Generator, *, hard: bool, moves: tuple[str, ...]) -> Thing:
    radius = float(rng.uniform(0.08, 0.11) if hard else rng.uniform(0.11, 0.14))
    start = (float(rng.uniform(0.36, 0.64)), float(rng.uniform(0.36, 0.64)))
    speed = str(rng.choice(list(SPEEDS))) if len(moves) == 1 else None
    distance = float(rng.uniform(*SPEEDS[speed])) if speed else (0.25 if moves else 0.0)
    return Thing(
        kind=str(rng.choice(OBJECTS)),
        colour=str(rng.choice(list(COLOURS))),
        radius=radius,
        start=start,
        moves=moves,
        speed=speed,
        distance=distance,
    )


def _companion(rng: np.random.Generator, first: Thing) -> Thing:
    """A second thing of another kind and colour, apart from the first, that moves on its own."""
    while True:
        second = _thing(rng, hard=True, moves=_moves(rng, number=1))
        start = (float(rng.uniform(0.2, 0.8)), float(rng.uniform(0.2, 0.8)))
        apart = np.hypot(start[0] - first.start[0], start[1] - first.start[1]) > 0.3
        if apart and second.kind != first.kind and second.colour != first.colour:
            return Thing(**{**second.__dict__, "start": start})


def _standing_things(rng: np.random.Generator, *, number: int) -> tuple[Thing, ...]:
    """Like things on distinct, shaken cells of a 2 x 2 grid."""
    kind, colour = str(rng.choice(OBJECTS)), str(rng.choice(list(COLOURS)))
    cells = rng.permutation(4)[:number]
    radius = float(rng.uniform(0.09, 0.12))
    return tuple(
        Thing(
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
