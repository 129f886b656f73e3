"""The look of all pictures: two themes, colours of lines, and matplotlib's settings."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    # Colours are read where nothing is plotted, and matplotlib takes a while to load.
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class Theme:
    """Colours of a picture.

    Attributes:
        background: behind everything.
        ink: text that is read first, and points.
        muted: other text, axes and arrows.
        grid: grid lines, and frames that are not read.
        panel: background of a group of elements.
        spatial: spatial tokens.
        motion: motion tokens.
        helps: changes that make an answer likelier.
        hurts: changes that make it less likely.
    """

    background: str
    ink: str
    muted: str
    grid: str
    panel: str
    spatial: str
    motion: str
    helps: str
    hurts: str


ThemeName = Literal["light", "dark"]
# Blues, orange and vermilion of Okabe and Ito, which colour-blind readers can distinguish.
THEMES: dict[ThemeName, Theme] = {
    "light": Theme("#ffffff", "#1b1f24", "#5f6872", "#dddfe2", "#f3f5f7", "#0072b2", "#e69f00", "#0072b2", "#d55e00"),
    "dark": Theme("#16181c", "#e8eaed", "#a0a7b0", "#3d424a", "#22252a", "#56b4e9", "#e69f00", "#56b4e9", "#d55e00"),
}
LIGHT = THEMES["light"]
# Colours that colour-blind readers can distinguish. Further lines use them again with dashes.
LINE_COLOURS = ("#2a78d6", "#eb6834", "#1baf7a", "#eda100", "#e87ba4", "#008300", "#4a3aa7", "#e34948")
# Names from a config may hold dollar signs, which matplotlib would read as formulas.
PLOT_STYLE: dict[Any, Any] = {
    "text.parse_math": False,
    "text.color": LIGHT.ink,
    "axes.labelcolor": LIGHT.muted,
    "axes.edgecolor": LIGHT.muted,
    "axes.titlesize": 10,
    "axes.labelsize": 9,
    "xtick.color": LIGHT.muted,
    "ytick.color": LIGHT.muted,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.frameon": False,
}


def remove_frame(axes: "Axes", axis: Literal["x", "y", "both"]) -> None:
    """Draw a light grid along the values, and no frame."""
    axes.grid(axis=axis, color=LIGHT.grid, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
