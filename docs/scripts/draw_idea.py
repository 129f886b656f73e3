"""Draw docs/images/idea.png and idea_dark.png: `python docs/scripts/draw_idea.py` from the repository's root.

Lengths are pixels of a picture 900 wide, as GitHub shows it, with y downwards; it is saved at twice that.
"""

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.patches import Circle, FancyBboxPatch, Rectangle

from vtok.common.style import THEMES, Theme
from vtok.data.sources.shapes.render import render
from vtok.data.sources.shapes.scene import Scene, SceneObject
from vtok.evaluation.token_picture import canvas

WIDTH, HEIGHT = 900, 482
NUM_FRAMES, STRIDE, SIDE = 30, 6, 4

FRAME, STEP, FIRST = 84, 108, 34
TOKEN, PITCH = 15, 16
TEXT_LEFT = 606
FRAMES_TOP = 192
CENTRES = [FIRST + FRAME / 2 + STEP * number for number in range(-(-NUM_FRAMES // STRIDE))]
SCENE = Scene(
    family="motion",
    objects=(SceneObject("circle", "white", 0.14, (0.3, 0.62), ("right",), "fast", 0.34),),
    camera=None,
    background=(92, 92, 92),
    texture=0.0,
    seed=0,
)


def draw(path: Path, theme: Theme) -> None:
    with canvas(path, width=WIDTH, height=HEIGHT, theme=theme) as axes:
        for top, bottom in ((12, 162), (FRAMES_TOP + FRAME + 26, HEIGHT - 12)):
            box = FancyBboxPatch((12, top), WIDTH - 24, bottom - top, boxstyle="round,pad=0,rounding_size=8")
            box.set(facecolor=theme.panel, edgecolor="none", zorder=0)
            axes.add_patch(box)
        draw_frames(axes, theme)
        draw_frame_sampling(axes, theme)
        draw_vtok(axes, theme)


def draw_frames(axes: Axes, theme: Theme) -> None:
    clip = render(SCENE, num_frames=NUM_FRAMES, size=FRAME)
    for number, (centre, image) in enumerate(zip(CENTRES, clip[::STRIDE], strict=True)):
        left, right = centre - FRAME / 2, centre + FRAME / 2
        axes.imshow(image, extent=(left, right, FRAMES_TOP + FRAME, FRAMES_TOP), aspect="auto", zorder=2)
        name, weight = (f"frame {number * STRIDE}", "normal") if number else ("frame 0 (key)", "bold")
        write(axes, centre, FRAMES_TOP + FRAME + 11, name, align="center", colour=theme.ink, weight=weight)
    write(axes, TEXT_LEFT, 204, f"A clip of {NUM_FRAMES} frames, every {STRIDE}th is taken", colour=theme.ink)
    token(axes, TEXT_LEFT, 224, theme.spatial)
    write(axes, TEXT_LEFT + 24, 231, "spatial token: one place of a frame", colour=theme.muted)
    token(axes, TEXT_LEFT, 248, theme.motion)
    write(axes, TEXT_LEFT + 24, 255, "motion token: what has changed", colour=theme.muted)


def draw_frame_sampling(axes: Axes, theme: Theme) -> None:
    for centre in CENTRES:
        arrow(axes, (centre, FRAMES_TOP - 3), (centre, 126), theme.ink)
        grid(axes, centre, 58, theme.spatial)
    sequence(axes, 50, "Frame sampling", [theme.spatial] * SIDE**2 * len(CENTRES), theme)
    write(axes, TEXT_LEFT, 145, f"$S \\times K$ = {SIDE**2} × {len(CENTRES)}: every frame in full", colour=theme.muted)


def draw_vtok(axes: Axes, theme: Theme) -> None:
    key, later = CENTRES[0], CENTRES[1:]
    start, bus, minus, base = FRAMES_TOP + FRAME + 20, 324, 348, 388
    arrow(axes, (key, start), (key, base), theme.ink)
    grid(axes, key, base + 4, theme.spatial)
    axes.plot([key, later[-1] - 28], [bus, bus], color=theme.spatial, linewidth=1.4, zorder=1)
    axes.add_patch(Circle((key, bus), 3, color=theme.spatial, zorder=3))
    for centre in later:
        axes.plot([centre - 28] * 2, [bus, minus], color=theme.spatial, linewidth=1.4, zorder=1)
        arrow(axes, (centre - 28, minus), (centre - 10, minus), theme.spatial)
        arrow(axes, (centre, start), (centre, minus - 10), theme.ink)
        axes.add_patch(
            Circle((centre, minus), 9, facecolor=theme.background, edgecolor=theme.ink, linewidth=1.1, zorder=3)
        )
        axes.plot([centre - 4, centre + 4], [minus, minus], color=theme.ink, linewidth=1.4, zorder=4)
        arrow(axes, (centre, minus + 10), (centre, base), theme.ink)
        token(axes, centre - TOKEN / 2, base + 4, theme.motion)
    middle = (later[0] + later[-1]) / 2
    formula = r"motion token $=\; g_\phi(\,\mathrm{pool}(F(x_t) - F(x_\mathrm{key}))\,)$"
    write(axes, middle, base + 38, formula, align="center", colour=theme.ink, size=10.5)
    write(axes, middle, base + 60, r"$F$: the backbone,  $g_\phi$: a small MLP", align="center", colour=theme.muted)
    sequence(axes, 362, "VTok", [theme.spatial] * SIDE**2 + [theme.motion] * len(later), theme)
    write(axes, TEXT_LEFT, 409, f"$S + M$ = {SIDE**2} + {len(later)}: the key frame in full,", colour=theme.muted)
    write(axes, TEXT_LEFT, 425, "every later frame as one token", colour=theme.muted)


def sequence(axes: Axes, top: float, name: str, colours: list[str], theme: Theme) -> None:
    """Tokens as the language model reads them, in lines of a frame's grid, with their number above."""
    write(axes, TEXT_LEFT, top - 16, name, colour=theme.ink, size=11.5, weight="bold")
    count = f"{len(colours)} tokens"
    write(axes, TEXT_LEFT + SIDE**2 * PITCH - 1, top - 16, count, align="right", colour=theme.ink, size=11.5)
    for number, colour in enumerate(colours):
        line, column = divmod(number, SIDE**2)
        token(axes, TEXT_LEFT + PITCH * column, top + PITCH * line, colour)


def grid(axes: Axes, centre: float, top: float, colour: str) -> None:
    for cell in range(SIDE**2):
        line, column = divmod(cell, SIDE)
        token(axes, centre + PITCH * (column - SIDE / 2) + 0.5, top + PITCH * line, colour)


def token(axes: Axes, left: float, top: float, colour: str) -> None:
    axes.add_patch(Rectangle((left, top), TOKEN, TOKEN, facecolor=colour, edgecolor="none", zorder=3))


def arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float], colour: str) -> None:
    style = {"arrowstyle": "-|>", "color": colour, "linewidth": 1.1, "shrinkA": 0, "shrinkB": 0, "mutation_scale": 9}
    axes.annotate("", xy=end, xytext=start, arrowprops=style, zorder=2)


def write(
    axes: Axes,
    x: float,
    y: float,
    text: str,
    *,
    align: str = "left",
    colour: str,
    size: float = 9,
    weight: str = "normal",
) -> None:
    axes.text(x, y, text, ha=align, va="center", color=colour, fontsize=size, weight=weight)


if __name__ == "__main__":
    images = Path(__file__).parents[1] / "images"
    draw(images / "idea.png", THEMES["light"])
    draw(images / "idea_dark.png", THEMES["dark"])
