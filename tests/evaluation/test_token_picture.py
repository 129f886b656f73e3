"""The pictures of tokens show what the tokenisers give."""

from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.image import imread

from vtok.common.errors import UserError
from vtok.common.style import THEMES
from vtok.evaluation.token_groups import TokenGroup
from vtok.evaluation.token_picture import ClipPicture, draw_tokens
from vtok.tokeniser import MOTION, SPATIAL


def picture(read: list[float], groups: list[TokenGroup], *, frames: int = 30) -> ClipPicture:
    pictures = torch.zeros(len(read), 3, 8, 8, dtype=torch.uint8)
    return ClipPicture(frames=pictures, read=read, clip=[float(second) for second in range(frames)], groups=groups)


def count_tokens(path: Path, colour: str) -> int:
    """Number of separate squares of a colour in a picture."""
    from scipy.ndimage import label

    wanted = np.array([int(colour[start : start + 2], 16) for start in (1, 3, 5)]) / 255
    same = np.abs(imread(path)[..., :3] - wanted).max(axis=-1) < 0.02
    areas = np.bincount(label(same)[0].ravel())[1:]
    # Edges of frames are hollow, and the key of the colours is one more square.
    return int((areas > 100).sum())


@pytest.mark.parametrize("theme", THEMES)
def test_every_token_is_drawn_below_its_frame_and_in_the_sequence(theme, tmp_path: Path) -> None:
    groups = [
        TokenGroup(0.0, SPATIAL, 16, (0,)),
        TokenGroup(10.0, MOTION, 1, (0, 1)),
        TokenGroup(20.0, MOTION, 1, (0, 2)),
    ]
    draw_tokens(picture([0.0, 10.0, 20.0], groups), tmp_path / "tokens.png", theme=THEMES[theme])
    # Once below a frame, once in the sequence; one square of the key, and the edge of each frame.
    assert count_tokens(tmp_path / "tokens.png", THEMES[theme].spatial) == 16 + 16 + 1 + 1
    assert count_tokens(tmp_path / "tokens.png", THEMES[theme].motion) == 2 + 2 + 1 + 2


@pytest.mark.parametrize("theme", THEMES)
def test_on_a_frame_dropped_patches_fade_and_lines_are_between_tokens(theme, tmp_path: Path) -> None:
    groups = [TokenGroup(0.0, SPATIAL, 2, (0,), of_patches=True)]
    # Red frames; of the first frame a quarter is one token and a quarter another, of the second nothing is kept.
    numbers = torch.tensor([[[1, 2], [0, 0]], [[0, 0], [0, 0]]])
    shown = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
    shown[:, 0] = 255
    clip = ClipPicture(shown, read=[0.0, 10.0], clip=[0.0, 10.0], groups=groups, token_map=numbers)
    draw_tokens(clip, tmp_path / "tokens.png", theme=THEMES[theme])
    image = imread(tmp_path / "tokens.png")[..., :3]
    strong, ground = np.array([1, 0, 0]), np.array([int(THEMES[theme].background[at : at + 2], 16) for at in (1, 3, 5)])
    faded = 0.25 * strong + 0.75 * ground / 255
    counts = [int((np.abs(image - colour).max(axis=-1) < 0.02).sum()) for colour in (strong, faded)]
    # Half of one frame, but for the lines; the rest of it and all of the other.
    assert 2.7 < counts[1] / counts[0] < 3.3


def test_more_frames_make_a_wider_picture_and_far_too_many_are_refused(tmp_path: Path) -> None:
    sizes = []
    for frames in (1, 30, 60):
        read = [float(second) for second in range(0, frames, 4)]
        groups = [TokenGroup(second, SPATIAL, 4, (k,)) for k, second in enumerate(read)]
        draw_tokens(picture(read, groups, frames=frames), tmp_path / "tokens.png", theme=THEMES["light"])
        sizes.append(imread(tmp_path / "tokens.png").shape[1])
    assert sizes[0] <= sizes[1] < sizes[2]
    read = [float(second) for second in range(200)]
    with pytest.raises(UserError, match=r"200 frames are read, too many for a picture\. Use a larger tokeniser"):
        draw_tokens(picture(read, [], frames=200), tmp_path / "tokens.png", theme=THEMES["light"])
