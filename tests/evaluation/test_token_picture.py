"""The pictures of tokens show what the tokenisers give."""

from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.image import imread

from vtok.backbone import TinyBackbone
from vtok.common.errors import UserError
from vtok.common.style import THEMES
from vtok.evaluation.token_picture import ClipPicture, TokenGroup, draw_tokens, token_groups
from vtok.tokeniser import (
    MOTION,
    SPATIAL,
    CodecMotionTokeniser,
    DeltaTokeniser,
    FrameSamplingTokeniser,
    KeyFrameTokeniser,
    PlannedFrames,
    ResamplerTokeniser,
    SlowFastTokeniser,
    Tokeniser,
    VTokTokeniser,
)

READ = (0, 6, 12, 18, 24)


def planned(tokeniser: Tokeniser) -> PlannedFrames:
    """The planned frames of a clip of 30 frames, one a second."""
    plan = tokeniser.plan(30)
    indices = torch.tensor(plan.indices)
    return PlannedFrames(
        frames=torch.zeros(1, len(indices), 3, 64, 64, dtype=torch.uint8),
        key=torch.tensor([-1 if plan.key is None else plan.key]),
        mask=torch.ones(1, len(indices), dtype=torch.bool),
        timestamps=indices.float().unsqueeze(0),
        vectors=None if plan.vector_grid is None else torch.zeros(1, len(indices), 3, *[plan.vector_grid] * 2),
    )


@pytest.mark.parametrize(
    ("kind", "settings", "groups"),
    [
        (VTokTokeniser, {}, [(0, SPATIAL, 16, (0,)), *((READ[k], MOTION, 1, (0, k)) for k in (1, 2, 3, 4))]),
        (VTokTokeniser, {"key_frame": "middle"}, [
            (12, SPATIAL, 16, (2,)),
            *((READ[k], MOTION, 1, tuple(sorted((2, k)))) for k in (0, 1, 3, 4)),
        ]),
        (DeltaTokeniser, {}, [(0, SPATIAL, 16, (0,)), *((READ[k], MOTION, 1, (k - 1, k)) for k in (1, 2, 3, 4))]),
        (CodecMotionTokeniser, {}, [(0, SPATIAL, 16, (0,)), *((READ[k], MOTION, 1, (k,)) for k in (1, 2, 3, 4))]),
        (FrameSamplingTokeniser, {}, [(READ[k], SPATIAL, 4, (k,)) for k in range(5)]),
        (KeyFrameTokeniser, {}, [(0, SPATIAL, 16, (0,))]),
        (SlowFastTokeniser, {}, [
            *((4 * k, SPATIAL, 4, (k,)) for k in (0, 4, 7)), *((4 * k, SPATIAL, 1, (k,)) for k in range(8)),
        ]),
        (ResamplerTokeniser, {}, [(12, SPATIAL, 20, (0, 1, 2, 3, 4))]),
    ],
)  # fmt: skip
def test_groups_of_tokens_have_their_time_and_the_frames_that_they_are_made_from(kind, settings, groups) -> None:
    tokeniser = kind(TinyBackbone(), **settings).eval()
    with torch.no_grad():
        assert token_groups(tokeniser, planned(tokeniser)) == groups


@pytest.mark.parametrize("key_frame", ["medoid", "sharpest"])
def test_a_key_frame_chosen_by_content_does_not_join_every_frame_to_every_token(key_frame: str) -> None:
    tokeniser = VTokTokeniser(TinyBackbone(), key_frame=key_frame).eval()
    with torch.no_grad():
        spatial, *motion = token_groups(tokeniser, planned(tokeniser))
    (key,) = spatial.sources
    assert spatial.seconds == READ[key]
    assert [group.sources for group in motion] == [tuple(sorted((key, k))) for k in range(5) if k != key]


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


def test_more_frames_make_a_wider_picture_and_far_too_many_are_refused(tmp_path: Path) -> None:
    sizes = []
    for frames in (1, 30, 60):
        read = [float(second) for second in range(0, frames, 4)]
        groups = [TokenGroup(second, SPATIAL, 4, (k,)) for k, second in enumerate(read)]
        draw_tokens(picture(read, groups, frames=frames), tmp_path / "tokens.png", theme=THEMES["light"])
        sizes.append(imread(tmp_path / "tokens.png").shape[1])
    assert sizes[0] <= sizes[1] < sizes[2]
    read = [float(second) for second in range(200)]
    with pytest.raises(UserError, match=r"200 frames are read, too many for a picture\. Use a larger stride"):
        draw_tokens(picture(read, [], frames=200), tmp_path / "tokens.png", theme=THEMES["light"])
