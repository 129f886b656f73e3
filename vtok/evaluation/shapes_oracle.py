"""What is to be seen in a clip of data=shapes, read off its pixels: nothing here was learnt, and nothing is random.

A frame's median is its background, and what differs from it in the clip's main colour is a thing. A thing's place is
its centre of mass, its move a line through its places, and its shape the one whose drawing is most like its picture.
Lengths are fractions of the frame's side, as those of scenes are.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from statistics import median, mode

import numpy as np
import torch
from scipy import ndimage, stats
from torch import Tensor

from vtok.data import Clip
from vtok.data.clip_reader import scaled
from vtok.data.sources.shapes.render import signed_distance
from vtok.data.sources.shapes.scene import COLOURS, COUNTS, DIRECTIONS, OBJECTS, SPEEDS

# The names of the categories that can be read, by the names that clips have for them.
CATEGORIES = {
    "object": "shape",
    "colour": "colour",
    "motion_direction": "motion_direction",
    "speed": "speed",
    "count": "count",
}
LARGEST = 64  # pixels of a side; larger frames are scaled down
BRIGHTNESS = 0.5  # against hue: backgrounds flicker in brightness
SMOOTHING = 0.02
LEAST_CONTRAST = 25.0
LEAST_AREA = 0.005  # of the frame; the smallest thing has 0.015
LEAST_SHARE = 0.35  # of the clip's largest thing: in a clip all are of one size
STANDS = SPEEDS["slow"][0] / 2
FAST = (SPEEDS["slow"][1] + SPEEDS["fast"][0]) / 2
# Pictures of things: PICTURE x PICTURE points over REACH to each side of the centre; the unit is the root of the area.
PICTURE, REACH = 25, 1.1
# Pixels (frame, row, column) belong together along rows and columns of one frame.
WITHIN_A_FRAME = np.stack([np.zeros((3, 3)), ndimage.generate_binary_structure(2, 1), np.zeros((3, 3))])


@dataclass(frozen=True)
class Reading:
    """What is seen, in the words of the data set; None where there is nothing to be seen of it."""

    shape: str | None = None
    colour: str | None = None
    motion_direction: str | None = None
    speed: str | None = None
    count: str | None = None


@dataclass(frozen=True)
class Spot:
    """A thing in one frame.

    Attributes:
        frame: its number.
        place: (x, y) of its centre of mass.
        area: of the frame's, 0 to 1.
        cut: whether it reaches the frame's border.
        cover: (H, W), how much of each pixel is the thing, about 0 to 1; 0 around other things.
    """

    frame: int
    place: tuple[float, float]
    area: float
    cut: bool
    cover: np.ndarray


def truth_of(clip: Clip) -> dict[str, str]:
    """The clip's true attributes, of those that `read_clip` reads and under its names."""
    return {CATEGORIES[category]: truth for category, truth in clip.attributes.items() if category in CATEGORIES}


def read_clip(frames: Tensor, *, span: float = 1.0) -> Reading:
    """What is to be seen in a clip.

    Args:
        frames: uint8 (F, 3, H, H), F at least 2 and H at least 32, evenly spread over the clip from its first frame on.
        span: the share of the clip's move that is done in the last of them.

    Raises:
        ValueError: the frames are of another type or shape.
    """
    if frames.dtype != torch.uint8 or frames.ndim != 4 or frames.shape[1] != 3 or len(frames) < 2:
        raise ValueError(f"frames are uint8 (F, 3, H, H), F at least 2, not {frames.dtype} {tuple(frames.shape)}.")
    found = find_colour(frames)
    if found is None:
        return Reading()
    colour, cover = found
    spots = find_spots(cover)
    if not spots:
        return Reading()
    by_frame = [[spot for spot in spots if spot.frame == frame] for frame in range(len(frames))]
    number = mode(len(one) for one in by_frame if one)
    direction, speed = read_move(follow(by_frame), steps=len(frames) - 1, span=span)
    return Reading(
        shape=read_shape(spots),
        colour=colour,
        motion_direction=direction,
        speed=speed,
        count=COUNTS[number - 1] if number <= len(COUNTS) else None,
    )


def find_colour(frames: Tensor) -> tuple[str, np.ndarray] | None:
    """The main colour, and how much of every pixel is of it: (F, H, H), about 0 to 1. None where nothing stands out."""
    size = min(LARGEST, frames.shape[-1])
    pixels = scaled(frames, size).numpy().astype(np.float32)
    ground = np.median(pixels, axis=(2, 3))
    contrast = less_bright(pixels - ground[..., None, None])
    smooth = blur(contrast, SMOOTHING * size).swapaxes(0, 1).reshape(3, -1)
    strength = np.linalg.norm(smooth, axis=0)
    peak = np.quantile(strength, 0.995)
    if peak < LEAST_CONTRAST:
        return None
    palette = less_bright(np.array(list(COLOURS.values())) - np.median(ground, axis=0))
    nearest = (unit_vectors(palette) @ smooth).argmax(0)
    main = int(np.bincount(nearest, weights=strength * (strength > peak / 2)).argmax())
    own = smooth[:, (nearest == main) & (strength > 0.7 * peak)]
    if own.size == 0:
        return None
    axis = own.mean(1)
    return list(COLOURS)[main], np.einsum("fchw,c->fhw", contrast, axis / (axis @ axis))


def less_bright(colours: np.ndarray) -> np.ndarray:
    """Differences of colours (N, 3, ...) with less of their brightness."""
    return colours - (1 - BRIGHTNESS) * colours.mean(1, keepdims=True)


def blur(images: np.ndarray, sigma: float) -> np.ndarray:
    """Images (..., H, W) blurred by a Gaussian of `sigma` pixels."""
    return ndimage.gaussian_filter(images, sigma, mode="nearest", truncate=3, axes=(-2, -1))


def unit_vectors(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def find_spots(cover: np.ndarray) -> list[Spot]:
    """The things of all frames, by their cover (F, H, H)."""
    size = cover.shape[-1]
    labels, _ = ndimage.label(blur(cover, SMOOTHING * size) > 0.5, structure=WITHIN_A_FRAME)
    areas = np.bincount(labels.ravel())
    areas[0] = 0
    least = max(LEAST_AREA * size**2, LEAST_SHARE * areas.max())
    labels *= (areas >= least)[labels]
    # Soft edges belong to the thing that they are next to.
    whole = labels
    for _ in range(round(size / 16)):
        whole = np.where(whole > 0, whole, ndimage.maximum_filter(whole, size=(1, 3, 3)))
    spots = []
    for label, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is None:
            continue
        frame = box[0].start
        own = cover[frame] * (whole[frame] == label)
        row, column = ndimage.center_of_mass(own.clip(min=0))
        place = ((column + 0.5) / size, (row + 0.5) / size)
        cut = any(side.start == 0 or side.stop == size for side in box[1:])
        # What lies around a thing may be darker than the ground, in noise by more than the thing is brighter.
        spots.append(Spot(frame, place, max(1.0, float(own.sum())) / size**2, cut, own))
    return spots


def follow(by_frame: Sequence[Sequence[Spot]]) -> list[Spot]:
    """One thing through the frames: the largest, and before and after it the one that is nearest to the last."""
    largest = max((spot for spots in by_frame for spot in spots), key=lambda spot: spot.area)
    path = [largest]
    for direction in (by_frame[largest.frame + 1 :], by_frame[: largest.frame][::-1]):
        last = largest
        for spots in direction:
            if spots:
                last = min(spots, key=lambda spot: distance(spot, last))
                path.append(last)
    return path


def distance(one: Spot, other: Spot) -> float:
    return float(np.hypot(one.place[0] - other.place[0], one.place[1] - other.place[1]))


def read_move(path: Sequence[Spot], *, steps: int, span: float) -> tuple[str | None, str | None]:
    """Direction and speed by Theil and Sen's line through the places."""
    whole = [spot for spot in path if not spot.cut]
    path = whole if len(whole) >= max(2, len(path) / 2) else path
    if len(path) < 2:
        return None, None
    frames = [spot.frame for spot in path]
    slopes = [stats.theilslopes([spot.place[axis] for spot in path], frames).slope for axis in (0, 1)]
    x, y = (slope * steps / span for slope in slopes)
    moved = max(abs(x), abs(y))
    if moved < STANDS:
        return None, None
    direction = max(DIRECTIONS, key=lambda name: x * DIRECTIONS[name][0] + y * DIRECTIONS[name][1])
    return direction, "fast" if moved > FAST else "slow"


def read_shape(spots: Sequence[Spot]) -> str:
    """The shape whose drawing is most like the things' mean picture."""
    whole = [spot for spot in spots if not spot.cut] or spots
    unit = median(spot.area for spot in whole) ** 0.5
    points = np.linspace(-REACH, REACH, PICTURE) * unit
    pictures = []
    for spot in whole:
        x, y = np.meshgrid(points + spot.place[0], points + spot.place[1])
        pixels = np.stack([y, x]) * len(spot.cover) - 0.5
        pictures.append(ndimage.map_coordinates(spot.cover, pixels, order=1, mode="grid-constant"))
    likeness = drawings() @ np.mean(pictures, axis=0).ravel()
    return OBJECTS[int(likeness.reshape(len(OBJECTS), -1).max(1).argmax())]


@cache
def drawings() -> np.ndarray:
    """Unit vectors (shapes x sizes, places and softnesses, PICTURE**2): how things of area 1 may look."""
    axis = np.linspace(-REACH, REACH, PICTURE)
    x, y = np.meshgrid(axis, axis)
    step = axis[1] - axis[0]
    drawn = []
    for kind in OBJECTS:
        far = np.linspace(-2, 2, 401)
        fx, fy = np.meshgrid(far, far)
        root = (signed_distance(kind, fx, fy, 1.0) < 0).sum() ** 0.5 * (far[1] - far[0])
        for scale in (0.85, 0.92, 1.0, 1.08):
            for dx in (-0.05, 0.0, 0.05):
                for dy in (-0.05, 0.0, 0.05):
                    inside = -signed_distance(kind, x - dx, y - dy, scale / root) / step
                    drawn.append(np.clip(0.5 + inside, 0, 1))
    soft = np.stack([blur(np.stack(drawn), sigma / step) for sigma in (0.08, 0.12, 0.17, 0.24, 0.32, 0.42)], 1)
    return unit_vectors(soft.reshape(-1, PICTURE**2))
