"""Ranges of clips with motion in one direction."""

from pathlib import Path

import numpy as np
import pytest

from vtok.data import Clip, ClipSettings
from vtok.data.flow import VideoFlow
from vtok.data.sources.twins.motions import Motion, motions_of

LIMITS = {"least_shift": 0.05, "least_coherence": 0.8}
# 8 steps of 4 frames each, at 24 frames a second.
TICK = 4 / 24
CLIP = Clip("a", Path("a.mp4"))


def flow(moves: list[tuple[float, float]], share: float = 0.2) -> VideoFlow:
    return VideoFlow(4, np.arange(len(moves) + 1) * TICK, np.array(moves), np.full(len(moves), share))


def motions(given: VideoFlow, clip: Clip = CLIP, num_frames: int = 9, **changed) -> dict[str, Motion]:
    # 9 frames are two steps.
    return motions_of(clip, given, ClipSettings(size=8, num_frames=num_frames), **(LIMITS | changed))


STILL = (0.0, 0.0)
LEFT = [STILL, STILL, (-0.03, 0.0), (-0.04, 0.01), STILL, STILL, STILL, STILL]


def test_the_range_of_the_largest_motion_and_its_direction() -> None:
    assert motions(flow(LEFT)) == {"left_right": Motion(2 * TICK, 0)}
    assert motions(flow([(-x, y) for x, y in LEFT])) == {"left_right": Motion(2 * TICK, 1)}
    assert motions(flow([(y, -x) for x, y in LEFT])) == {"up_down": Motion(2 * TICK, 1)}
    assert motions(flow([(y, x) for x, y in LEFT])) == {"up_down": Motion(2 * TICK, 0)}


def test_one_range_for_each_axis() -> None:
    assert motions(flow([*LEFT[:4], (0.0, 0.06), STILL, STILL, STILL])) == {
        "left_right": Motion(2 * TICK, 0),
        "up_down": Motion(4 * TICK, 1),
    }


@pytest.mark.parametrize(
    ("given", "changed"),
    [
        (flow(LEFT), {"least_shift": 0.08}),
        (flow([*LEFT[:3], (0.02, 0.0), (-0.04, 0.0), *LEFT[5:]]), {"num_frames": 13}),
        (flow([(0.06, 0.04)] * 2), {}),
        (flow(LEFT, share=0.001), {}),
        (flow([]), {}),
        # The video is shorter than a clip.
        (flow(LEFT), {"num_frames": 34}),
    ],
    ids=["too small", "back and forth", "diagonal", "noise", "one frame", "short"],
)
def test_motion_that_is_not_asked_about(given: VideoFlow, changed: dict) -> None:
    assert motions(given, **changed) == {}


def test_the_range_lies_within_the_clip() -> None:
    assert motions(flow(LEFT), Clip("a", Path("a"), start=3 * TICK, end=5 * TICK)) == {}
    assert motions(flow(LEFT), Clip("a", Path("a"), start=2 * TICK, end=4 * TICK)) == {
        "left_right": Motion(2 * TICK, 0)
    }


def test_the_length_follows_the_rate_of_the_clip() -> None:
    # At 6 frames a second, 3 frames last as long as 9 at 24.
    settings = ClipSettings(size=8, num_frames=3, fps=6.0)
    assert motions_of(CLIP, flow(LEFT), settings, **LIMITS) == {"left_right": Motion(2 * TICK, 0)}
