"""The oracle on scenes whose attributes are known, drawn like the data set and damaged like a decoder's frames."""

import math
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from vtok.data import Clip
from vtok.data.clip_reader import scaled
from vtok.data.plan import TargetPlan
from vtok.data.sources.shapes.language import attributes
from vtok.data.sources.shapes.render import render
from vtok.data.sources.shapes.scene import DIRECTIONS, OBJECTS, Scene, sample_scene
from vtok.evaluation.shapes_oracle import (
    Reading,
    Spot,
    find_spots,
    follow_object,
    read_clip,
    read_motion,
    read_shape,
    truth_of,
)

FAMILIES = ("motion", "count")
OPPOSITE = {"left": "right", "right": "left", "up": "down", "down": "up"}
SOME = 32  # clips of each family, so that a test takes a second


@cache
def clip(family: str, number: int) -> tuple[Clip, Tensor]:
    """An easy clip with its true attributes, and 8 of its 30 frames, uint8 (8, 3, 64, 64)."""
    scene = sample_scene(np.random.default_rng([11, number]), "easy", [family])
    known = Clip(id=f"{family}-{number}", path=Path("none"), attributes=attributes(scene))
    return known, spread(scene)


def spread(scene: Scene, *, size: int = 64, clip_frames: int = 30) -> Tensor:
    frames = torch.from_numpy(render(scene, num_frames=clip_frames, size=size)).permute(0, 3, 1, 2)
    return frames[list(TargetPlan(num_frames=8, size=size).indices(clip_frames))]


def shares(clips: Iterator[tuple[Clip, Tensor]]) -> dict[str, float]:
    """The share of right readings by category."""
    right: dict[str, list[bool]] = {}
    for known, frames in clips:
        reading = read_clip(frames)
        for category, truth in truth_of(known).items():
            right.setdefault(category, []).append(getattr(reading, category) == truth)
    return {category: sum(one) / len(one) for category, one in right.items()}


def clips(
    number: int, families: tuple[str, ...] = FAMILIES, change: Callable[[Tensor], Tensor] = lambda frames: frames
) -> Iterator[tuple[Clip, Tensor]]:
    for family in families:
        for one in range(number):
            known, frames = clip(family, one)
            yield known, change(frames)


def small(frames: Tensor) -> Tensor:
    return scaled(frames, 32)


def noisy(frames: Tensor) -> Tensor:
    seen = small(frames).float()
    noise = torch.randn(seen.shape, generator=torch.Generator().manual_seed(1))
    return (seen + 20 * noise).round().clamp(0, 255).to(torch.uint8)


def blurred(frames: Tensor) -> Tensor:
    """Frames of 32 x 32, blurred by a 5 x 5 mean."""
    padded = F.pad(small(frames).float(), (2, 2, 2, 2), mode="replicate")
    return F.avg_pool2d(padded, 5, 1).round().to(torch.uint8)


def faded(frames: Tensor) -> Tensor:
    """Frames with half of the contrast."""
    return (small(frames).float() / 2 + 50).round().to(torch.uint8)


def squashed(frames: Tensor) -> Tensor:
    """Frames scaled to 16 x 16 and back: as soft as those of a decoder early in training."""
    tiny = F.interpolate(frames.float(), (16, 16), mode="area")
    return F.interpolate(tiny, (32, 32), mode="bilinear").round().to(torch.uint8)


def test_true_clips_in_a_decoders_format_are_read_correctly() -> None:
    right = shares(clips(SOME, change=small))
    assert right.keys() == {"shape", "colour", "motion_direction", "speed", "count"}
    assert min(right.values()) >= 0.95, right


@pytest.mark.slow
@pytest.mark.parametrize("size", [32, 64])
def test_many_true_clips_are_read_correctly(size: int) -> None:
    right = shares(clips(150, change=lambda frames: scaled(frames, size)))
    assert min(right.values()) >= 0.95, right


@pytest.mark.parametrize("damage", [noisy, blurred, faded, squashed])
def test_damaged_clips_still_show_their_colour_and_direction(damage: Callable[[Tensor], Tensor]) -> None:
    right = shares(clips(SOME, ("motion",), damage))
    assert min(right["colour"], right["motion_direction"]) >= 0.85, right


def test_large_frames_are_read_like_small_ones() -> None:
    for _, frames in clips(4):
        large = frames.repeat_interleave(3, -1).repeat_interleave(3, -2)
        assert read_clip(large) == read_clip(frames)


def test_a_reversed_clip_moves_the_other_way() -> None:
    pairs = [(read_clip(small(frames).flip(0)), truth_of(known)) for known, frames in clips(SOME, ("motion",))]
    opposite = [reading.motion_direction == OPPOSITE[truth["motion_direction"]] for reading, truth in pairs]
    as_fast = [reading.speed == truth["speed"] for reading, truth in pairs]
    assert min(np.mean(opposite), np.mean(as_fast)) >= 0.95


def test_still_objects_have_no_direction() -> None:
    readings = [read_clip(small(frames)) for _, frames in clips(SOME, ("count",))]
    assert np.mean([(one.motion_direction, one.speed) == (None, None) for one in readings]) >= 0.95
    _, frames = clip("motion", 0)
    frozen = read_clip(small(frames[:1].expand(8, -1, -1, -1)))
    assert (frozen.motion_direction, frozen.speed) == (None, None)
    assert frozen.colour is not None


@pytest.mark.parametrize("size", [32, 64])
def test_empty_clips_have_no_attributes(size: int) -> None:
    """Plain grey, grey with twice the data set's noise, and the data set's background without objects."""
    grey = torch.full((8, 3, size, size), 110, dtype=torch.uint8)
    assert read_clip(grey) == Reading()
    noise = 10 * torch.randn(grey.shape, generator=torch.Generator().manual_seed(0))
    assert read_clip((grey + noise).round().to(torch.uint8)) == Reading()
    for seed in range(10):
        empty = Scene(family="motion", objects=(), camera=None, background=(100, 100, 100), texture=0.0, seed=seed)
        assert read_clip(scaled(spread(empty), size)) == Reading()


def test_in_strong_noise_no_direction_is_preferred() -> None:
    """No direction may be read more often than by guessing: within 4 standard deviations of 60 guesses at 1/4."""
    generator = torch.Generator().manual_seed(0)
    seen = Counter(
        read_clip(torch.randint(0, 256, (8, 3, 32, 32), dtype=torch.uint8, generator=generator)).motion_direction
        for _ in range(60)
    )
    assert max(seen[direction] for direction in DIRECTIONS) <= 15 + 4 * math.sqrt(60 * 3 / 16)


@pytest.mark.parametrize(
    "frames",
    [
        torch.zeros(8, 3, 32, 32),
        torch.zeros(3, 32, 32, dtype=torch.uint8),
        torch.zeros(8, 32, 32, 3, dtype=torch.uint8),
        torch.zeros(1, 3, 32, 32, dtype=torch.uint8),
        torch.zeros(2, 8, 3, 32, 32, dtype=torch.uint8),
    ],
    ids=["float", "one frame alone", "channels last", "a clip of one frame", "a batch"],
)
def test_other_types_and_shapes_are_refused(frames: Tensor) -> None:
    with pytest.raises(ValueError, match=r"uint8 \(F, 3, H, H\)"):
        read_clip(frames)


def test_true_attributes_have_the_names_of_a_reading() -> None:
    given = {"object": "cross", "colour": "red", "count": "two", "order": "left then up", "camera": "zooms in"}
    known = Clip(id="a", path=Path("a"), attributes=given)
    assert truth_of(known) == {"shape": "cross", "colour": "red", "count": "two"}
    moving = Clip(id="b", path=Path("b"), attributes={"motion_direction": "up", "speed": "slow"})
    assert truth_of(moving) == moving.attributes
    assert truth_of(Clip(id="c", path=Path("c"))) == {}


def spot(frame: int, x: float, y: float, *, area: float = 0.04, at_border: bool = False) -> Spot:
    return Spot(frame=frame, place=(x, y), area=area, at_border=at_border, coverage=np.zeros((1, 1)))


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize(("distance", "speed"), [(0.12, "slow"), (0.17, "slow"), (0.28, "fast"), (0.34, "fast")])
def test_a_straight_move(direction: str, distance: float, speed: str) -> None:
    """Also if a frame is missing, one position is wrong, and the object drifts a little to the side."""
    step_x, step_y = (distance / 7 * part for part in DIRECTIONS[direction])
    path = [spot(n, 0.5 + (step_x + 0.003) * n, 0.5 + (step_y + 0.003) * n) for n in (0, 1, 2, 4, 5, 6, 7)]
    assert read_motion(path, steps=7) == (direction, speed)
    path[2] = spot(2, 0.05, 0.95)
    assert read_motion(path, steps=7) == (direction, speed)


def test_motion_of_objects_that_leave_the_frame() -> None:
    leaving = [spot(n, min(0.85, 0.7 + 0.3 * n / 7), 0.5, at_border=n > 3) for n in range(8)]
    assert read_motion(leaving, steps=7) == ("right", "fast")


def test_too_little_motion_has_no_direction() -> None:
    assert read_motion([spot(3, 0.5, 0.5)], steps=7) == (None, None)
    standing = [spot(n, 0.5 + 0.05 * n / 7, 0.5 - 0.05 * n / 7) for n in range(8)]
    assert read_motion(standing, steps=7) == (None, None)


def test_one_object_is_followed_among_others() -> None:
    near = [spot(n, 0.2 + 0.03 * n, 0.5, area=0.04 + 0.001 * (n == 2)) for n in range(5)]
    far = [spot(n, 0.8 - 0.03 * n, 0.5) for n in range(5)]
    by_frame = [[far[n], near[n]] if n % 2 else [near[n], far[n]] for n in range(5)]
    by_frame[3] = []
    assert sorted(follow_object(by_frame), key=lambda one: one.frame) == [near[0], near[1], near[2], near[4]]


def test_places_and_areas_of_discs() -> None:
    """Two discs in the first frame, one of them at the border, one in the second, and a speck that is not an object."""
    discs = {0: [(0.3, 0.4, 0.13), (0.8, 0.04, 0.13)], 1: [(0.55, 0.7, 0.12)], 2: [(0.5, 0.5, 0.04)]}
    axis = (np.arange(64) + 0.5) / 64
    coverage = np.zeros((3, 64, 64))
    for frame, drawn in discs.items():
        for x, y, radius in drawn:
            distance = np.hypot(axis - x, axis[:, None] - y) - radius
            coverage[frame] += (0.5 - 64 * distance).clip(0, 1)
    spots = sorted(find_spots(coverage), key=lambda one: (one.frame, one.place[0]))
    assert [(one.frame, one.at_border) for one in spots] == [(0, False), (0, True), (1, False)]
    for one, (x, y, radius) in ((spots[0], discs[0][0]), (spots[2], discs[1][0])):
        assert one.place == pytest.approx((x, y), abs=0.003)
        assert one.area == pytest.approx(math.pi * radius**2, rel=0.03)
    assert spots[0].coverage.sum() + spots[1].coverage.sum() == pytest.approx(float(coverage[0].sum()), rel=0.01)
    assert not (spots[0].coverage * spots[1].coverage).any()


@pytest.mark.parametrize("corner", [False, True])
def test_squares_that_touch_only_at_a_corner_are_two_objects(corner: bool) -> None:
    """Squares of 20 pixels, which is more than the blur: they touch along a side, or only at a corner."""
    coverage = np.zeros((1, 64, 64))
    coverage[0, 10:30, 10:30] = 1.0
    coverage[0, 30:50, 30 if corner else 10 : 50 if corner else 30] = 1.0
    coverage[0, 28:32, 28:32] *= not corner
    assert len(find_spots(coverage)) == (2 if corner else 1)


def test_an_object_in_dark_surroundings_has_a_positive_area() -> None:
    """In noise the surroundings may be darker than the background by more than the object is brighter."""
    coverage = np.zeros((2, 32, 32))
    coverage[:, 10:21, 10:21] = -5.0
    coverage[:, 13:18, 13:18] = 0.9
    spots = find_spots(coverage)
    assert [spot.frame for spot in spots] == [0, 1]
    assert all(spot.area > 0 for spot in spots)
    assert read_shape(spots) in OBJECTS
