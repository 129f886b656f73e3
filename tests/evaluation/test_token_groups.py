"""The frames that tokens are made from, and what is one group of a picture."""

import pytest
import torch

from vtok.backbone import TinyBackbone
from vtok.evaluation.token_groups import TokenGroup, token_groups
from vtok.tokeniser import (
    MOTION,
    SPATIAL,
    CodecMotionTokeniser,
    DeltaTokeniser,
    EvsTokeniser,
    FrameSamplingTokeniser,
    KeyFrameTokeniser,
    PlannedFrames,
    ResamplerTokeniser,
    SlowFastTokeniser,
    Tokeniser,
    UniformTokeniser,
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
        assert [group[:4] for group in token_groups(tokeniser, planned(tokeniser))] == groups


@pytest.mark.parametrize("key_frame", ["medoid", "sharpest"])
def test_a_key_frame_chosen_by_content_does_not_join_every_frame_to_every_token(key_frame: str) -> None:
    tokeniser = VTokTokeniser(TinyBackbone(), key_frame=key_frame).eval()
    with torch.no_grad():
        spatial, *motion = token_groups(tokeniser, planned(tokeniser))
    (key,) = spatial.sources
    assert spatial.seconds == READ[key]
    assert [group.sources for group in motion] == [tuple(sorted((key, k))) for k in range(5) if k != key]


def test_patches_are_grouped_by_the_frame_nearest_in_time_and_know_all_their_frames() -> None:
    # 8 boxes of half the clip: 2 and 3 frames, each of a quarter.
    tokeniser = UniformTokeniser(TinyBackbone(), grid_size=4, num_tokens=8).eval()
    with torch.no_grad():
        early, late = token_groups(tokeniser, planned(tokeniser))
    assert early == TokenGroup(0.0, SPATIAL, 4, (0, 1), of_patches=True)
    assert late == TokenGroup(18.0, SPATIAL, 4, (2, 3, 4), of_patches=True)
    assert not early.is_grid


def test_of_patches_that_are_chosen_only_their_own_frame_counts() -> None:
    tokeniser = EvsTokeniser(TinyBackbone(), num_tokens=19).eval()
    clip = planned(tokeniser)
    clip.pixels[:, 2, :, :16, :16] = 255
    with torch.no_grad():
        first, *others = token_groups(tokeniser, clip)
    assert first == TokenGroup(0.0, SPATIAL, 16, (0,), of_patches=True)
    assert {group.sources for group in others} <= {(2,), (3,)}
    assert sum(group.number for group in others) == 3


@pytest.mark.parametrize(
    ("number", "rows", "columns"), [(1, 1, 1), (2, 1, 2), (3, 2, 2), (6, 2, 3), (16, 4, 4), (17, 4, 5)]
)
def test_blocks_of_patches_are_about_square(number: int, rows: int, columns: int) -> None:
    group = TokenGroup(0.0, SPATIAL, number, (0,), of_patches=True)
    assert (group.rows, group.columns) == (rows, columns)
