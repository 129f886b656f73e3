"""A picture of where a clip's tokens come from: frames, places, time and order.

All of it is read off the tokeniser's plan and output, so that the picture changes where the tokeniser does (see
`vtok.evaluation.token_groups`). Lengths are hundredths of an inch, which are pixels at the usual size.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from vtok.common.errors import UserError
from vtok.common.style import Theme
from vtok.evaluation.token_groups import TokenGroup
from vtok.tokeniser import MOTION

TIMELINE_WIDTHS = (580, 1500)
LARGEST_FRAME, SMALLEST_FRAME, BETWEEN_FRAMES = 70, 12, 8
LEFT, FRAMES_TOP, TOKENS_BELOW = 50, 34, 42
TOKEN_PITCH, TOKEN_SHARE = 13, 11 / 13
SEQUENCE_WIDTH, SEQUENCE_COLUMNS = 210, 15
NAMES = {True: "motion: what has changed", False: "spatial: what is there"}


@dataclass(frozen=True)
class ClipPicture:
    """What a picture of tokens shows.

    Attributes:
        frames: uint8 (K, 3, H, W), the frames that the tokeniser reads.
        read: times of these frames in seconds, ascending.
        clip: times of all frames of the clip in seconds, ascending.
        groups: the tokens.
        token_map: see `Tokeniser.token_map`, (K, g, g).
    """

    frames: Tensor
    read: list[float]
    clip: list[float]
    groups: list[TokenGroup]
    token_map: Tensor | None = None


class Layout:
    """Places on the picture of a clip, whose frames have a side of at most `largest_frame`.

    Raises:
        UserError: the clip has too many frames for a picture.
    """

    def __init__(self, picture: ClipPicture, *, largest_frame: float = LARGEST_FRAME) -> None:
        length = picture.clip[-1] - picture.clip[0]
        gap = min(np.diff(picture.read), default=length)
        least, most = TIMELINE_WIDTHS
        widest = max([group.columns for group in picture.groups if group.kind != MOTION], default=1)
        wanted = (largest_frame + BETWEEN_FRAMES) * length / gap if gap > 0 else 0.0
        self.start, self.length = picture.clip[0], length
        self.timeline_width = min(most, max(least, wanted))
        available = self.timeline_width * gap / length - BETWEEN_FRAMES if length > 0 else largest_frame
        self.frame = min(largest_frame, available)
        if self.frame < SMALLEST_FRAME:
            raise UserError(
                f"{len(picture.read)} frames are read, too many for a picture. Use a larger tokeniser.stride or a "
                "smaller clip.num_frames."
            )
        available = self.timeline_width if len(picture.groups) == 1 else self.frame + BETWEEN_FRAMES / 2
        self.pitch = min(TOKEN_PITCH, available / widest)
        self.timeline_top = FRAMES_TOP + self.frame + 14
        self.tokens_top = self.timeline_top + TOKENS_BELOW - 14
        self.sequence_left = LEFT + self.timeline_width + 60
        rows: dict[float, int] = {}
        for group in picture.groups:
            rows[group.seconds] = rows.get(group.seconds, 0) + group.rows
        tokens = sum(group.number for group in picture.groups)
        sequence_rows = -(-tokens // SEQUENCE_COLUMNS) + 3
        self.width = self.sequence_left + SEQUENCE_WIDTH
        self.height = 16 + max(
            self.tokens_top + max(rows.values(), default=1) * self.pitch, FRAMES_TOP + 20 + sequence_rows * TOKEN_PITCH
        )

    def centre(self, seconds: float) -> float:
        """The x position of a time."""
        return LEFT + (self.timeline_width * (seconds - self.start) / self.length if self.length > 0 else 0.0)


def draw_tokens(picture: ClipPicture, path: Path, *, theme: Theme) -> None:
    """Write a PNG: the frames that are read, the places of them that become tokens, and the sequence of tokens.

    Raises:
        UserError: the clip has too many frames for a picture.
    """
    layout = Layout(picture)
    with canvas(path, width=layout.width, height=layout.height, theme=theme) as axes:
        _draw_timeline(axes, picture, layout, theme)
        for number, frame in enumerate(picture.frames):
            groups = [group for group in picture.groups if number in group.sources]
            centre = layout.centre(picture.read[number])
            _draw_frame(axes, frame, centre, groups, layout, theme)
            if picture.token_map is not None:
                _draw_patches(axes, picture.token_map[number], centre, layout, theme)
        _draw_tokens(axes, picture, layout, theme)
        _draw_sequence(axes, picture.groups, layout, theme)


@contextmanager
def canvas(path: Path, *, width: float, height: float, theme: Theme) -> Iterator[Axes]:
    """Axes of `width` x `height` hundredths of an inch, y downwards, that are written as a PNG at the end."""
    figure = Figure(figsize=(width / 100, height / 100), dpi=200, facecolor=theme.background)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(height, 0))
    axes.set_axis_off()
    yield axes
    # Without the version of matplotlib the same drawing is the same file.
    figure.savefig(path, format="png", metadata={"Software": None})


def _draw_timeline(axes: Axes, picture: ClipPicture, layout: Layout, theme: Theme) -> None:
    text = f"clip of {len(picture.clip)} frames, {len(picture.read)} read"
    axes.text(LEFT - layout.frame / 2, 16, text, fontsize=9, color=theme.muted, va="center")
    ends = [layout.centre(picture.clip[0]), layout.centre(picture.clip[-1])]
    axes.plot(ends, [layout.timeline_top] * 2, color=theme.grid, linewidth=1, zorder=1)
    for times, size, colour in ((picture.clip, 2.2, theme.grid), (picture.read, 3.6, theme.ink)):
        places = [layout.centre(seconds) for seconds in times]
        axes.plot(places, [layout.timeline_top] * len(places), "o", markersize=size, color=colour, zorder=2)


def _draw_frame(
    axes: Axes, frame: Tensor, centre: float, groups: list[TokenGroup], layout: Layout, theme: Theme
) -> None:
    """A frame that is read, with the places that become tokens; `groups` are those that are made from it."""
    side, top = layout.frame, FRAMES_TOP
    left, right, bottom = centre - side / 2, centre + side / 2, top + side
    axes.imshow(frame.permute(1, 2, 0).numpy(), extent=(left, right, bottom, top), aspect="auto", zorder=3)
    for group in groups:
        for line in range(1, group.rows if group.is_grid else 1):
            step = line * side / group.rows
            axes.plot([left + step] * 2, [top, bottom], color="white", linewidth=0.8, zorder=4)
            axes.plot([left, right], [top + step] * 2, color="white", linewidth=0.8, zorder=4)
    edge = _colour(min(group.kind for group in groups), theme) if groups else theme.grid
    box = Rectangle((left, top), side, side, facecolor="none", edgecolor=edge, linewidth=2, zorder=5)
    axes.add_patch(box)


def _draw_patches(axes: Axes, numbers: Tensor, centre: float, layout: Layout, theme: Theme) -> None:
    """On a frame, lines between the patches of different tokens; patches that are dropped fade."""
    patches = numbers.shape[0]
    step, left = layout.frame / patches, centre - layout.frame / 2
    for row, column in (numbers == 0).nonzero().tolist():
        corner = (left + column * step, FRAMES_TOP + row * step)
        axes.add_patch(Rectangle(corner, step, step, facecolor=theme.background, alpha=0.75, linewidth=0, zorder=4))
    for row, column in (numbers[:, 1:] != numbers[:, :-1]).nonzero().tolist():
        x, y = left + (column + 1) * step, FRAMES_TOP + row * step
        axes.plot([x, x], [y, y + step], color=theme.spatial, linewidth=0.9, zorder=4)
    for row, column in (numbers[1:] != numbers[:-1]).nonzero().tolist():
        x, y = left + column * step, FRAMES_TOP + (row + 1) * step
        axes.plot([x, x + step], [y, y], color=theme.spatial, linewidth=0.9, zorder=4)


def _draw_tokens(axes: Axes, picture: ClipPicture, layout: Layout, theme: Theme) -> None:
    """Below each time its tokens, joined to the frames that they are made from.

    What a second pass over the frames gives is below what the first gave.
    """
    used: dict[float, int] = {}
    for group in picture.groups:
        row, centre = used.get(group.seconds, 0), layout.centre(group.seconds)
        used[group.seconds] = row + group.rows
        for source in group.sources if row == 0 else ():
            ends = [layout.timeline_top + 4, layout.tokens_top - 4]
            places = [layout.centre(picture.read[source]), centre]
            axes.plot(places, ends, color=_colour(group.kind, theme), linewidth=0.9, alpha=0.6, zorder=1)
        left = centre - (group.columns - 1 + TOKEN_SHARE) * layout.pitch / 2
        for place in range(group.number):
            line, column = divmod(place, group.columns)
            corner = (left + column * layout.pitch, layout.tokens_top + (row + line) * layout.pitch)
            _draw_token(axes, corner, layout.pitch, _colour(group.kind, theme))


def _draw_sequence(axes: Axes, groups: list[TokenGroup], layout: Layout, theme: Theme) -> None:
    """The tokens in the order in which the language model reads them, and their number."""
    kinds = [group.kind for group in groups for _ in range(group.number)]
    motion = kinds.count(MOTION)
    number = f"{len(kinds) - motion} + {motion} = {len(kinds)} tokens" if motion else f"{len(kinds)} tokens"
    left, top = layout.sequence_left, FRAMES_TOP + 18
    axes.text(left, 16, number, fontsize=11, color=theme.ink, weight="bold", va="center")
    axes.text(left, FRAMES_TOP + 4, "in the order of the sequence", fontsize=9, color=theme.muted, va="center")
    for place, kind in enumerate(kinds):
        line, column = divmod(place, SEQUENCE_COLUMNS)
        _draw_token(axes, (left + column * TOKEN_PITCH, top + line * TOKEN_PITCH), TOKEN_PITCH, _colour(kind, theme))
    top += -(-len(kinds) // SEQUENCE_COLUMNS) * TOKEN_PITCH + 10
    for line, kind in enumerate(sorted(set(kinds))):
        _draw_token(axes, (left, top + line * 18), TOKEN_PITCH, _colour(kind, theme))
        text = NAMES[kind == MOTION]
        axes.text(left + 18, top + line * 18 + 6, text, fontsize=9, color=theme.muted, va="center")


def _draw_token(axes: Axes, corner: tuple[float, float], pitch: float, colour: str) -> None:
    side = pitch * TOKEN_SHARE
    axes.add_patch(Rectangle(corner, side, side, facecolor=colour, edgecolor="none", zorder=3))


def _colour(kind: int, theme: Theme) -> str:
    return theme.motion if kind == MOTION else theme.spatial
