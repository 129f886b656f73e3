"""Draw docs/images/tokens_NAME.png for every tokeniser: `python docs/scripts/draw_tokens.py` from the root.

Which frames are read, which places of them become tokens and in which order is asked of the tokeniser itself, with the
settings of its option: the picture changes where the tokeniser does. Lengths are pixels of a picture 900 wide.
"""

from itertools import groupby
from math import isqrt
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from vtok.config import compose
from vtok.config.compose import options_of
from vtok.data.sources.shapes.render import render
from vtok.data.sources.shapes.scene import Scene, SceneObject
from vtok.model.build import build_tokeniser
from vtok.tokeniser import MOTION, PlannedFrames, Tokeniser

IMAGES = Path(__file__).parents[1] / "images"
WIDTH, NUM_FRAMES = 900, 30
FRAME, STEP, LEFT = 70, 20, 50
FRAMES_TOP, TIMELINE, TOKENS_TOP = 34, 118, 146
TOKEN, PITCH, SEQUENCE_LEFT = 11, 13, 690
# Blue and orange of Okabe and Ito, which colour-blind readers tell apart.
COLOURS = ("#0072b2", "#e69f00")
INK, MUTED, FAINT = "#1b1f24", "#57606a", "#c9d1d9"
SCENE = Scene(
    family="motion",
    objects=(SceneObject("square", "yellow", 0.15, (0.22, 0.7), ("right",), "fast", 0.5),),
    camera=None,
    background=(60, 84, 110),
    texture=0.5,
    seed=3,
)


class Run(NamedTuple):
    """Tokens that follow each other in the sequence and are of one frame (its number) and one kind."""

    frame: float
    kind: int
    number: int


def tokens_of(tokeniser: Tokeniser, video: Tensor) -> list[Run]:
    """The tokens of a clip (T, 3, H, W) in their order, from the tokeniser's own output."""
    plan = tokeniser.plan(len(video))
    indices = torch.tensor(plan.indices)
    side = plan.vector_grid
    planned = PlannedFrames(
        frames=video[indices].unsqueeze(0),
        key=torch.tensor([-1 if plan.key is None else plan.key]),
        mask=torch.ones(1, len(indices), dtype=torch.bool),
        timestamps=indices.float().unsqueeze(0),
        vectors=None if side is None else torch.zeros(1, len(indices), 3, side, side),
    )
    encoded = tokeniser.encode_planned(planned)
    pairs = zip(encoded.timestamps[0].tolist(), encoded.kind.tolist(), strict=True)
    return [Run(frame, kind, len(list(same))) for (frame, kind), same in groupby(pairs)]


def draw(name: str) -> None:
    tokeniser = build_tokeniser(compose([f"tokeniser={name}"]))
    pixels = render(SCENE, num_frames=NUM_FRAMES, size=64)
    video = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    runs, read = tokens_of(tokeniser, video), tokeniser.plan(NUM_FRAMES).indices
    depth = max((rows(run) for run in runs), default=1)
    height = TOKENS_TOP + depth * PITCH + 30
    figure = Figure(figsize=(WIDTH / 100, height / 100), dpi=200, facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, WIDTH), ylim=(height, 0))
    axes.set_axis_off()
    draw_timeline(axes, read)
    of_all = len(runs) == 1 and len(read) > 1
    for frame in read:
        draw_frame(axes, pixels[frame], frame, [] if of_all else [run for run in runs if run.frame == frame])
    if of_all:
        draw_of_all(axes, runs[0], read)
    else:
        draw_by_frame(axes, runs)
    draw_sequence(axes, runs)
    figure.savefig(IMAGES / f"tokens_{name}.png", metadata={"Software": None})


def rows(run: Run) -> int:
    """Of the block that its tokens are drawn as: a square where they are a grid."""
    return isqrt(run.number) if isqrt(run.number) ** 2 == run.number else 1


def centre_of(frame: float) -> float:
    return LEFT + frame * STEP


def draw_timeline(axes: Axes, read: tuple[int, ...]) -> None:
    text = f"clip of {NUM_FRAMES} frames, {len(read)} read"
    axes.text(LEFT - FRAME / 2, 16, text, fontsize=9, color=MUTED, va="center")
    axes.plot([centre_of(0), centre_of(NUM_FRAMES - 1)], [TIMELINE] * 2, color=FAINT, linewidth=1, zorder=1)
    for frame in range(NUM_FRAMES):
        size, colour = (3.6, INK) if frame in read else (2.2, FAINT)
        axes.plot(centre_of(frame), TIMELINE, "o", markersize=size, color=colour, zorder=2)


def draw_frame(axes: Axes, image: np.ndarray, frame: int, runs: list[Run]) -> None:
    """A frame that is read, with the places that become tokens."""
    left, right, bottom = centre_of(frame) - FRAME / 2, centre_of(frame) + FRAME / 2, FRAMES_TOP + FRAME
    axes.imshow(image, extent=(left, right, bottom, FRAMES_TOP), aspect="auto", zorder=3)
    for run in runs:
        side = rows(run)
        for line in range(1, side):
            step = line * FRAME / side
            axes.plot([left + step] * 2, [FRAMES_TOP, bottom], color="white", linewidth=0.8, zorder=4)
            axes.plot([left, right], [FRAMES_TOP + step] * 2, color="white", linewidth=0.8, zorder=4)
    kinds = {run.kind for run in runs}
    edge = FAINT if not kinds else COLOURS[min(kinds)]
    box = Rectangle((left, FRAMES_TOP), FRAME, FRAME, facecolor="none", edgecolor=edge, linewidth=2, zorder=5)
    axes.add_patch(box)


def draw_by_frame(axes: Axes, runs: list[Run]) -> None:
    """Below each frame its tokens; what a second pass over the frames gives stands below what the first gave."""
    used: dict[float, int] = {}
    for run in runs:
        side, top = rows(run), TOKENS_TOP + used.get(run.frame, 0) * PITCH
        used[run.frame] = used.get(run.frame, 0) + side
        left = centre_of(run.frame) - run.number // side * PITCH / 2
        for place in range(run.number):
            line, column = divmod(place, run.number // side)
            token(axes, left + column * PITCH, top + line * PITCH, run.kind)


def draw_of_all(axes: Axes, run: Run, read: tuple[int, ...]) -> None:
    """Tokens that are of the whole clip, each read from all of its frames."""
    middle = (centre_of(read[0]) + centre_of(read[-1])) / 2
    left = middle - run.number * PITCH / 2
    for frame in read:
        axes.plot([centre_of(frame), middle], [TIMELINE, TOKENS_TOP - 4], color=FAINT, linewidth=0.9, zorder=1)
    for place in range(run.number):
        token(axes, left + place * PITCH, TOKENS_TOP, run.kind)


def draw_sequence(axes: Axes, runs: list[Run]) -> None:
    """The tokens in the order in which the language model reads them, and their number."""
    kinds = [run.kind for run in runs for _ in range(run.number)]
    motion = kinds.count(MOTION)
    number = f"{len(kinds) - motion} + {motion} = {len(kinds)} tokens" if motion else f"{len(kinds)} tokens"
    axes.text(SEQUENCE_LEFT, 16, number, fontsize=11, color=INK, weight="bold", va="center")
    axes.text(SEQUENCE_LEFT, FRAMES_TOP + 4, "in the order of the sequence", fontsize=9, color=MUTED, va="center")
    for place, kind in enumerate(kinds):
        line, column = divmod(place, 15)
        token(axes, SEQUENCE_LEFT + column * PITCH, FRAMES_TOP + 18 + line * PITCH, kind)
    shown = sorted(set(kinds))
    for line, kind in enumerate(shown):
        top = FRAMES_TOP + 18 + (-(-len(kinds) // 15)) * PITCH + 10 + line * 18
        token(axes, SEQUENCE_LEFT, top, kind)
        text = "motion: what has changed" if kind == MOTION else "spatial: what is there"
        axes.text(SEQUENCE_LEFT + 18, top + TOKEN / 2, text, fontsize=9, color=MUTED, va="center")


def token(axes: Axes, left: float, top: float, kind: int) -> None:
    axes.add_patch(Rectangle((left, top), TOKEN, TOKEN, facecolor=COLOURS[kind], edgecolor="none", zorder=3))


if __name__ == "__main__":
    for option in options_of("tokeniser"):
        draw(option)
