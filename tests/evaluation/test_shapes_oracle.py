"""The oracle against scenes whose truth is known, drawn as the data set draws them and seen as a decoder makes them."""

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
from vtok.data.sources.shapes.scene import DIRECTIONS, OBJECTS, Scene, Thing, sample_scene
from vtok.evaluation.shapes_oracle import (
    Reading,
    Spot,
    find_spots,
    follow,
    read_clip,
    read_move,
    read_shape,
    truth_of,
)

FAMILIES = ("motion", "count")
OPPOSITE = {"left": "right", "right": "left", "up": "down", "down": "up"}
SOME = 32  # clips of each family, for a look that takes a second


@cache
def clip(family: str, number: int) -> tuple[Clip, Tensor]:
    """What is known of an easy clip, and 8 of its 30 frames, uint8 (8, 3, 64, 64)."""
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
    """By a 5 x 5 mean, on frames of 32 x 32."""
    padded = F.pad(small(frames).float(), (2, 2, 2, 2), mode="replicate")
    return F.avg_pool2d(padded, 5, 1).round().to(torch.uint8)


def faded(frames: Tensor) -> Tensor:
    """With half of the contrast."""
    return (small(frames).float() / 2 + 50).round().to(torch.uint8)


def squashed(frames: Tensor) -> Tensor:
    """Through 16 x 16 pixels: as soft as what a decoder makes early on."""
    tiny = F.interpolate(frames.float(), (16, 16), mode="area")
    return F.interpolate(tiny, (32, 32), mode="bilinear").round().to(torch.uint8)


def test_true_clips_are_read_right_as_a_decoder_makes_them() -> None:
    right = shares(clips(SOME, change=small))
    assert right.keys() == {"shape", "colour", "motion_direction", "speed", "count"}
    assert min(right.values()) >= 0.95, right


@pytest.mark.slow
@pytest.mark.parametrize("size", [32, 64])
def test_many_true_clips_are_read_right(size: int) -> None:
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
    told = [(read_clip(small(frames).flip(0)), truth_of(known)) for known, frames in clips(SOME, ("motion",))]
    opposite = [reading.motion_direction == OPPOSITE[truth["motion_direction"]] for reading, truth in told]
    as_fast = [reading.speed == truth["speed"] for reading, truth in told]
    assert min(np.mean(opposite), np.mean(as_fast)) >= 0.95


def test_what_stands_still_has_no_direction() -> None:
    readings = [read_clip(small(frames)) for _, frames in clips(SOME, ("count",))]
    assert np.mean([(one.motion_direction, one.speed) == (None, None) for one in readings]) >= 0.95
    _, frames = clip("motion", 0)
    frozen = read_clip(small(frames[:1].expand(8, -1, -1, -1)))
    assert (frozen.motion_direction, frozen.speed) == (None, None)
    assert frozen.colour is not None


@pytest.mark.parametrize("size", [32, 64])
def test_where_there_is_nothing_nothing_is_seen(size: int) -> None:
    """A plain grey, with twice the data set's noise, and the data set's own background with no thing before it."""
    grey = torch.full((8, 3, size, size), 110, dtype=torch.uint8)
    assert read_clip(grey) == Reading()
    noise = 10 * torch.randn(grey.shape, generator=torch.Generator().manual_seed(0))
    assert read_clip((grey + noise).round().to(torch.uint8)) == Reading()
    for seed in range(10):
        empty = Scene(family="motion", things=(), camera=None, background=(100, 100, 100), texture=0.0, seed=seed)
        assert read_clip(scaled(spread(empty), size)) == Reading()


def test_in_strong_noise_no_direction_is_preferred() -> None:
    """Whatever is seen in it must not be right more often than a guess: 4 standard deviations of 60 guesses at 1/4."""
    generator = torch.Generator().manual_seed(0)
    seen = Counter(
        read_clip(torch.randint(0, 256, (8, 3, 32, 32), dtype=torch.uint8, generator=generator)).motion_direction
        for _ in range(60)
    )
    assert max(seen[direction] for direction in DIRECTIONS) <= 15 + 4 * math.sqrt(60 * 3 / 16)


def test_a_part_of_the_clip_is_enough_where_its_share_is_told() -> None:
    """A fast thing is slow in the first half of its clip, unless it is known that this is half of it."""
    thing = Thing("circle", "red", radius=0.12, start=(0.5, 0.5), moves=("left",), speed="fast", distance=0.32)
    scene = Scene("motion", (thing,), camera=None, background=(100, 100, 100), texture=0.0, seed=0)
    half = torch.from_numpy(render(scene, num_frames=15, size=64)).permute(0, 3, 1, 2)[:8]
    assert read_clip(half).speed == "slow"
    assert read_clip(half, span=0.5).speed == "fast"
    assert read_clip(half).motion_direction == "left"


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


def test_the_truth_has_the_readings_names() -> None:
    told = {"object": "cross", "colour": "red", "count": "two", "order": "left then up", "camera": "zooms in"}
    known = Clip(id="a", path=Path("a"), attributes=told)
    assert truth_of(known) == {"shape": "cross", "colour": "red", "count": "two"}
    moving = Clip(id="b", path=Path("b"), attributes={"motion_direction": "up", "speed": "slow"})
    assert truth_of(moving) == moving.attributes
    assert truth_of(Clip(id="c", path=Path("c"))) == {}


def spot(frame: int, x: float, y: float, *, area: float = 0.04, cut: bool = False) -> Spot:
    return Spot(frame=frame, place=(x, y), area=area, cut=cut, cover=np.zeros((1, 1)))


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize(("distance", "speed"), [(0.12, "slow"), (0.17, "slow"), (0.28, "fast"), (0.34, "fast")])
def test_a_straight_move(direction: str, distance: float, speed: str) -> None:
    """Also where a frame is missing, one place is wrong, and the thing drifts a little to the side."""
    step_x, step_y = (distance / 7 * part for part in DIRECTIONS[direction])
    path = [spot(n, 0.5 + (step_x + 0.003) * n, 0.5 + (step_y + 0.003) * n) for n in (0, 1, 2, 4, 5, 6, 7)]
    assert read_move(path, steps=7, span=1.0) == (direction, speed)
    path[2] = spot(2, 0.05, 0.95)
    assert read_move(path, steps=7, span=1.0) == (direction, speed)


def test_things_that_leave_the_frame_are_told_by_the_places_before() -> None:
    leaving = [spot(n, min(0.85, 0.7 + 0.3 * n / 7), 0.5, cut=n > 3) for n in range(8)]
    assert read_move(leaving, steps=7, span=1.0) == ("right", "fast")


def test_too_little_to_tell_a_move_from() -> None:
    assert read_move([spot(3, 0.5, 0.5)], steps=7, span=1.0) == (None, None)
    standing = [spot(n, 0.5 + 0.05 * n / 7, 0.5 - 0.05 * n / 7) for n in range(8)]
    assert read_move(standing, steps=7, span=1.0) == (None, None)
    # Over a quarter of the move, the same is a fifth of the frame.
    assert read_move(standing[1:], steps=7, span=0.25)[1] == "slow"


def test_one_thing_is_followed_among_others() -> None:
    near = [spot(n, 0.2 + 0.03 * n, 0.5, area=0.04 + 0.001 * (n == 2)) for n in range(5)]
    far = [spot(n, 0.8 - 0.03 * n, 0.5) for n in range(5)]
    by_frame = [[far[n], near[n]] if n % 2 else [near[n], far[n]] for n in range(5)]
    by_frame[3] = []
    assert sorted(follow(by_frame), key=lambda one: one.frame) == [near[0], near[1], near[2], near[4]]


def test_places_and_areas_of_discs() -> None:
    """Two discs in the first frame, one of them at the border, one in the second, and a speck that is no thing."""
    discs = {0: [(0.3, 0.4, 0.13), (0.8, 0.04, 0.13)], 1: [(0.55, 0.7, 0.12)], 2: [(0.5, 0.5, 0.04)]}
    axis = (np.arange(64) + 0.5) / 64
    cover = np.zeros((3, 64, 64))
    for frame, drawn in discs.items():
        for x, y, radius in drawn:
            distance = np.hypot(axis - x, axis[:, None] - y) - radius
            cover[frame] += (0.5 - 64 * distance).clip(0, 1)
    spots = sorted(find_spots(cover), key=lambda one: (one.frame, one.place[0]))
    assert [(one.frame, one.cut) for one in spots] == [(0, False), (0, True), (1, False)]
    for one, (x, y, radius) in ((spots[0], discs[0][0]), (spots[2], discs[1][0])):
        assert one.place == pytest.approx((x, y), abs=0.003)
        assert one.area == pytest.approx(math.pi * radius**2, rel=0.03)
    assert spots[0].cover.sum() + spots[1].cover.sum() == pytest.approx(float(cover[0].sum()), rel=0.01)
    assert not (spots[0].cover * spots[1].cover).any()


@pytest.mark.parametrize("corner", [False, True])
def test_squares_that_touch_only_at_a_corner_are_two_objects(corner: bool) -> None:
    """Squares of 20 pixels, which is more than the blur: they touch along a side, or only at a corner."""
    cover = np.zeros((1, 64, 64))
    cover[0, 10:30, 10:30] = 1.0
    cover[0, 30:50, 30 if corner else 10 : 50 if corner else 30] = 1.0
    cover[0, 28:32, 28:32] *= not corner
    assert len(find_spots(cover)) == (2 if corner else 1)


def test_a_thing_in_a_ditch_has_a_size() -> None:
    """In noise what lies around a thing can be less than the ground by more than the thing is above it."""
    cover = np.zeros((2, 32, 32))
    cover[:, 10:21, 10:21] = -5.0
    cover[:, 13:18, 13:18] = 0.9
    spots = find_spots(cover)
    assert [spot.frame for spot in spots] == [0, 1]
    assert all(spot.area > 0 for spot in spots)
    assert read_shape(spots) in OBJECTS
