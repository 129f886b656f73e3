"""Draw docs/images/tokens_NAME.png and tokens_NAME_dark.png for every tokeniser over a video, with `vtok draw`.

The pictures in the documentation show flower.mp4 of https://github.com/mdn/interactive-examples (CC0):
`python docs/scripts/draw_tokens.py video=flower.mp4` from the repository's root.
"""

import sys
from pathlib import Path

from vtok.cli.main import run_script
from vtok.cli.verbs.draw import draw
from vtok.common.style import THEMES
from vtok.config.compose import options_of

IMAGES = Path(__file__).parents[1] / "images"
# The default of adaptive is for synthetic clips, which change less.
SETTINGS = {"adaptive": ["tokeniser.change=10"]}


def draw_tokens(*, video: str, out: str = str(IMAGES)) -> list[Path]:
    """Draw the tokens of a video by every tokeniser, for light and for dark pages.

    Args:
        video: a video file.
        out: output folder.
    """
    return [
        draw(
            video=video,
            out=f"{out}/tokens_{option}{'' if theme == 'light' else '_dark'}.png",
            theme=theme,
            overrides=[f"tokeniser={option}", "clip.fps=6", *SETTINGS.get(option, [])],
        )
        for option in options_of("tokeniser")
        for theme in THEMES
    ]


if __name__ == "__main__":
    sys.exit(run_script(draw_tokens))
