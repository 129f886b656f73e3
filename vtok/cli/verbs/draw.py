"""vtok draw: a picture of where the tokens of a video come from."""

from collections.abc import Sequence
from pathlib import Path

from vtok.common.files import atomic_file, check_writable
from vtok.common.paths import user_path
from vtok.common.setting_types import NotNegative
from vtok.common.style import THEMES, ThemeName
from vtok.config import check, compose
from vtok.evaluation.token_picture import draw_tokens
from vtok.feature_cache import without_cache
from vtok.inference.clip import read_clip
from vtok.inference.picture import picture_of
from vtok.model.build import build_tokeniser

# Pixels of a frame in the picture: two for each hundredth of an inch.
FRAME_SIZE = 140


def draw(
    *,
    video: str,
    out: str = "tokens.png",
    start: NotNegative = 0.0,
    theme: ThemeName = "light",
    overrides: Sequence[str] = (),
) -> Path:
    """Draw which frames of a video a tokeniser reads, which places of them become tokens, and what each is made from.

    Everything is read off the plan and the output of an untrained tokeniser; no picture is drawn by hand. Takes train's
    overrides, such as tokeniser=slow_fast or clip.fps=4.

    Args:
        video: a video file or a folder of frames.
        out: output file.
        start: time in the video at which the clip starts, in seconds.
        theme: colours for light or dark pages.
        overrides: overrides of the configuration.

    Raises:
        UserError: if the configuration does not fit, or the video cannot be read or drawn.
    """
    target = user_path(out)
    check_writable(target, suffix=".png")
    config = compose(overrides)
    check(config)
    without_cache(config)
    tokeniser = build_tokeniser(config).eval()
    sample, times = read_clip(config, tokeniser.planner, video, start=start)
    picture = picture_of(config, tokeniser, video, sample, times, frame_size=FRAME_SIZE, start=start)
    with atomic_file(target) as partial:
        draw_tokens(picture, partial, theme=THEMES[theme])
    return target
