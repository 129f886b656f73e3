"""The picture of an explanation shows the changes as colours of cells and as heights of bars."""

from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.image import imread

from vtok.common.style import LIGHT
from vtok.evaluation.explain import Explanation
from vtok.evaluation.explain_picture import draw_explanation
from vtok.evaluation.token_groups import TokenGroup
from vtok.evaluation.token_picture import ClipPicture
from vtok.tokeniser import MOTION, SPATIAL

GROUPS = [TokenGroup(0.0, SPATIAL, 4, (0,)), TokenGroup(10.0, MOTION, 1, (0, 1)), TokenGroup(20.0, MOTION, 1, (0, 2))]


def drawn(path: Path, changes: tuple[float, ...], groups: list[TokenGroup] = GROUPS) -> np.ndarray:
    read = [0.0, 10.0, 20.0]
    frames = torch.full((3, 3, 8, 8), 255, dtype=torch.uint8)
    picture = ClipPicture(frames=frames, read=read, clip=[float(second) for second in range(30)], groups=groups)
    draw_explanation(Explanation("is it $5?", "red", -1.25, changes), picture, path, theme=LIGHT)
    return imread(path)[..., :3]


def pixels_of(picture: np.ndarray, colour: str) -> int:
    wanted = np.array([int(colour[start : start + 2], 16) for start in (1, 3, 5)]) / 255
    return int((np.abs(picture - wanted).max(axis=-1) < 0.02).sum())


def test_the_area_of_the_bars_is_that_of_the_changes(tmp_path: Path) -> None:
    areas = {}
    for motion in ((1.0, -0.5), (0.5, -1.0), (0.0, 0.0)):
        picture = drawn(tmp_path / "why.png", (0.0, 0.0, 0.0, 1.0, *motion))
        areas[motion] = pixels_of(picture, LIGHT.helps), pixels_of(picture, LIGHT.hurts)
    assert areas[0.0, 0.0] == (0, 0)
    assert areas[1.0, -0.5][0] == pytest.approx(2 * areas[0.5, -1.0][0], rel=0.05)
    assert areas[0.5, -1.0][1] == pytest.approx(2 * areas[1.0, -0.5][1], rel=0.05)


@pytest.mark.parametrize("place", range(4))
def test_a_change_colours_the_cell_of_its_token(place: int, tmp_path: Path) -> None:
    changes = [0.0] * 6
    plain = drawn(tmp_path / "plain.png", tuple(changes))
    changes[place] = -1.0
    picture = drawn(tmp_path / "why.png", tuple(changes))
    # Vermilion over a white frame: much red, little blue. The colours of the legend are in both pictures.
    ys, xs = np.nonzero(((picture - plain)[..., 2] < -0.5) & (picture[..., 0] > 0.7))
    assert len(ys) > 1000
    everywhere = drawn(tmp_path / "all.png", (-1.0, -1.0, -1.0, -1.0, 0.0, 0.0))
    ally, allx = np.nonzero(((everywhere - plain)[..., 2] < -0.5) & (everywhere[..., 0] > 0.7))
    assert (ys.mean() > ally.mean(), xs.mean() > allx.mean()) == (place >= 2, place % 2 == 1)


def test_nothing_changes_and_tokens_of_every_frame_are_drawn(tmp_path: Path) -> None:
    drawn(tmp_path / "zeros.png", (0.0,) * 6)
    drawn(tmp_path / "bars.png", (0.25,) * 20, [TokenGroup(15.0, SPATIAL, 20, (0, 1, 2))])
    with pytest.raises(ValueError, match="5 changes for 6 tokens"):
        drawn(tmp_path / "wrong.png", (0.0,) * 5)
