"""A picture of which tokens an answer used: heat maps over the frames, and bars along the time line.

The places are those of `token_picture`; lengths are hundredths of an inch.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import exp
from pathlib import Path
from textwrap import wrap

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.patches import Rectangle
from torch import Tensor

from vtok.common.foreign_files import printable
from vtok.common.style import Theme
from vtok.evaluation.explain import Explanation
from vtok.evaluation.token_groups import TokenGroup
from vtok.evaluation.token_picture import LEFT, ClipPicture, Layout, canvas
from vtok.tokeniser import MOTION

# The frames are larger than in the picture of tokens, so that the cells of a heat map can be seen.
FRAME = 120
MARGIN, LINE, TITLE_LINES = 16, 17, 2
# Room for the numbers left of the bars.
TICKS = 66
BARS_HEIGHT, LEGEND_WIDTH, WIDEST_BAR = 130, 150, 16
# Above this number of bars, the numbers beside them would overlap.
MOST_NUMBERS = 8


@dataclass(frozen=True)
class ChangedGroup:
    """A group of tokens, and the change of the log-likelihood by each of them."""

    group: TokenGroup
    changes: tuple[float, ...]


def draw_explanation(explanation: Explanation, picture: ClipPicture, path: Path, *, theme: Theme) -> None:
    """Write a PNG: the frames that are read, with heat maps where their tokens form a grid, and bars for other tokens.

    If a frame has two grids, such as a slow and a fast one, the finer one is its heat map and the other one is bars.

    Args:
        explanation: the changes.
        picture: the clip; its groups are those of the explained tokens, in the same order.
        path: file to write.
        theme: colours of the picture.

    Raises:
        UserError: the clip has too many frames for a picture.
        ValueError: the groups have another number of tokens.
    """
    changed = list(_changed_groups(picture.groups, explanation.changes))
    maps, bars = _divide(changed)
    layout = Layout(picture, largest_frame=FRAME)
    left = TICKS + layout.frame / 2
    width = left + layout.timeline_width + layout.frame / 2 + LEGEND_WIDTH
    title = _title(explanation, width - 2 * MARGIN)
    top = MARGIN + LINE * len(title) + 18
    bars_top = top + layout.frame + 30
    height = bars_top + (BARS_HEIGHT + 32 if bars else 18)
    scale = max((abs(change) for change in explanation.changes), default=0.0)
    with canvas(path, width=width, height=height, theme=theme) as axes:
        for line, (text, strong) in enumerate(title):
            _text(axes, MARGIN, MARGIN + LINE * (line + 0.5), text, theme.ink if strong else theme.muted, size=10)
        for number, frame in enumerate(picture.frames):
            centre = left - LEFT + layout.centre(picture.read[number])
            _draw_frame(axes, frame, centre, top, layout.frame, maps.get(number), scale, theme)
            _text(axes, centre, top + layout.frame + 11, f"{picture.read[number]:.2f} s", theme.muted, place="center")
        right = left + layout.timeline_width + layout.frame / 2
        if bars:
            available = layout.timeline_width if len(changed) == 1 else layout.frame
            _draw_bars(axes, bars, layout, available, (left, right, bars_top), scale, theme)
        _draw_legend(axes, right + 24, top, layout.frame, scale, theme)


def _changed_groups(groups: list[TokenGroup], changes: tuple[float, ...]) -> Iterator[ChangedGroup]:
    if sum(group.number for group in groups) != len(changes):
        raise ValueError(f"{len(changes)} changes for {sum(group.number for group in groups)} tokens.")
    start = 0
    for group in groups:
        yield ChangedGroup(group, changes[start : start + group.number])
        start += group.number


def _divide(changed: list[ChangedGroup]) -> tuple[dict[int, ChangedGroup], list[ChangedGroup]]:
    """The finest grid of each frame, by the frame's position, and the groups that are drawn as bars."""
    maps: dict[int, ChangedGroup] = {}
    for one in changed:
        if one.group.is_grid:
            frame = one.group.sources[0]
            if frame not in maps or maps[frame].group.number < one.group.number:
                maps[frame] = one
    return maps, [one for one in changed if not any(one is other for other in maps.values())]


def _title(explanation: Explanation, width: float) -> list[tuple[str, bool]]:
    """Lines of text, and whether each is read first."""
    columns = int(width / 7.2)
    lines = [
        (line, strong)
        for text, strong in ((explanation.question, False), (explanation.answer or "(an empty answer)", True))
        for line in wrap(printable(text), columns, max_lines=TITLE_LINES, placeholder=" …")
    ]
    likelihood = explanation.log_likelihood
    chance = exp(likelihood)
    probability = f"{chance:.2f}" if chance >= 0.01 else f"{chance:.1e}"
    return [*lines, (f"log-likelihood {_signed(likelihood)} nats, probability {probability}", False)]


def _draw_frame(
    axes: Axes,
    frame: Tensor,
    centre: float,
    top: float,
    side: float,
    heat: ChangedGroup | None,
    scale: float,
    theme: Theme,
) -> None:
    """A frame that is read; grey below its heat map, so that the colours are those of the map."""
    extent = (centre - side / 2, centre + side / 2, top + side, top)
    pixels = frame.permute(1, 2, 0).numpy()
    if heat is not None:
        pixels = np.repeat(pixels.mean(axis=2, keepdims=True), 3, axis=2).astype(np.uint8)
    axes.imshow(pixels, extent=extent, aspect="auto", zorder=2)
    if heat is not None:
        rows, columns = heat.group.rows, heat.group.columns
        cells = np.array([_colour(change, scale, theme) for change in heat.changes]).reshape(rows, columns, 4)
        axes.imshow(cells, extent=extent, aspect="auto", interpolation="nearest", zorder=3)
    colour = theme.ink if heat is not None else theme.grid
    box = Rectangle((extent[0], top), side, side, facecolor="none", edgecolor=colour, linewidth=1, zorder=4)
    axes.add_patch(box)


def _draw_bars(
    axes: Axes,
    bars: list[ChangedGroup],
    layout: Layout,
    available: float,
    box: tuple[float, float, float],
    scale: float,
    theme: Theme,
) -> None:
    """A bar for each token at its time; those of one time stand side by side."""
    left, right, top = box
    middle, half = top + BARS_HEIGHT / 2, BARS_HEIGHT / 2 - 12
    start = left - layout.frame / 2
    axes.plot([start, right], [middle] * 2, color=theme.muted, linewidth=1, zorder=2)
    _text(axes, start - 6, middle, "0", theme.muted, place="right")
    for sign in (1, -1) if scale else ():
        y = middle - sign * half
        axes.plot([start, right], [y] * 2, color=theme.grid, linewidth=0.8, zorder=1)
        _text(axes, start - 6, y, _signed(sign * scale), theme.muted, place="right")
    by_time: dict[float, list[float]] = {}
    for one in bars:
        by_time.setdefault(one.group.seconds, []).extend(one.changes)
    numbered = sum(map(len, by_time.values())) <= MOST_NUMBERS and max(map(len, by_time.values())) == 1
    for seconds, changes in by_time.items():
        pitch = min(WIDEST_BAR * 1.25, available / len(changes))
        first = left - LEFT + layout.centre(seconds) - pitch * len(changes) / 2
        for place, change in enumerate(changes):
            tall = half * change / scale if scale else 0.0
            x = first + (place + 0.1) * pitch
            # The frames' heat maps fade towards zero; a short bar is seen by its length, so it has the full colour.
            colour = theme.helps if change >= 0 else theme.hurts
            corner = (x, middle - max(tall, 0))
            axes.add_patch(Rectangle(corner, 0.8 * pitch, abs(tall), facecolor=colour, edgecolor="none", zorder=3))
            if numbered:
                y = middle - tall + (-8 if change >= 0 else 8)
                _text(axes, x + 0.4 * pitch, y, _signed(change), theme.ink, place="center")
    name = "motion token" if all(one.group.kind == MOTION for one in bars) else "token that is not a cell above"
    _text(axes, start, top + BARS_HEIGHT + 14, f"each {name}, at its time", theme.muted)


def _draw_legend(axes: Axes, left: float, top: float, height: float, scale: float, theme: Theme) -> None:
    """The colours of the heat maps and bars, and what they say."""
    height = max(height, 60)
    steps = np.linspace(1, -1, 64)
    cells = np.array([_colour(step, 1.0, theme) for step in steps]).reshape(-1, 1, 4)
    axes.imshow(cells, extent=(left, left + 12, top + height, top), aspect="auto", zorder=3)
    for share, text in ((0.0, f"{_signed(scale)} helps"), (0.5, "0"), (1.0, f"{_signed(-scale)} hurts")):
        y = top + 5 + share * (height - 10)
        _text(axes, left + 18, y, text, theme.ink)
    for line, text in enumerate(("change of the", "log-likelihood by", "a token, in nats")):
        _text(axes, left, top + height + 14 * (line + 1), text, theme.muted)


def _colour(change: float, scale: float, theme: Theme) -> tuple[float, float, float, float]:
    """The colour of a change, RGBA; nearer to 0 it is more transparent."""
    share = change / scale if scale else 0.0
    return (*to_rgb(theme.helps if share >= 0 else theme.hurts), 0.85 * min(1.0, abs(share)))


def _signed(number: float) -> str:
    return f"{number:+.2g}".replace("-", "\N{MINUS SIGN}") if number else "0"


def _text(axes: Axes, x: float, y: float, text: str, colour: str, *, size: float = 9, place: str = "left") -> None:
    # A dollar sign in a question is no formula.
    axes.text(x, y, text, fontsize=size, color=colour, ha=place, va="center", parse_math=False)
