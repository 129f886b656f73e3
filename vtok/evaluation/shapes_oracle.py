"""Reads the attributes of a data=shapes clip from its pixels, with deterministic image processing and no learning.

The median of a frame is its background. Connected pixels that differ from it in the clip's main colour are an object.
An object's position is its centre of mass, its motion is a line through its positions, and its shape is that of the
most similar template. Lengths are fractions of the frame's side, as in scenes.
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

# The attributes that can be read: the category of a clip, and its name in a `Reading`.
CATEGORIES = {
    "object": "shape",
    "colour": "colour",
    "motion_direction": "motion_direction",
    "speed": "speed",
    "count": "count",
}
LARGEST = 64  # side in pixels; larger frames are scaled down
BRIGHTNESS = 0.5  # weight of brightness relative to hue, because the brightness of backgrounds varies
SMOOTHING = 0.02
LEAST_CONTRAST = 25.0
LEAST_AREA = 0.005  # share of the frame; the smallest object has 0.015
LEAST_SHARE = 0.35  # share of the clip's largest object; all objects of a clip have the same size
STILL_BELOW = SPEEDS["slow"][0] / 2
FAST_ABOVE = (SPEEDS["slow"][1] + SPEEDS["fast"][0]) / 2
# Images of objects: PICTURE x PICTURE points, up to REACH on each side of the centre in units of the root of the area.
PICTURE, REACH = 25, 1.1
# Neighbours of a pixel (frame, row, column): those in its row and column, in the same frame.
WITHIN_A_FRAME = np.stack([np.zeros((3, 3)), ndimage.generate_binary_structure(2, 1), np.zeros((3, 3))])


@dataclass(frozen=True)
class Reading:
    """The attributes that were read, in the data set's words; None for those that cannot be seen."""

    shape: str | None = None
    colour: str | None = None
    motion_direction: str | None = None
    speed: str | None = None
    count: str | None = None


@dataclass(frozen=True)
class Spot:
    """An object in one frame.

    Attributes:
        frame: index of the frame.
        place: (x, y) of the centre of mass.
        area: area as a share of the frame, 0 to 1.
        at_border: whether the object touches the frame's border.
        coverage: (H, W), share of each pixel that the object covers, about 0 to 1; 0 around other objects.
    """

    frame: int
    place: tuple[float, float]
    area: float
    at_border: bool
    coverage: np.ndarray


def truth_of(clip: Clip) -> dict[str, str]:
    """The clip's true attributes that `read_clip` can read, under the names of `Reading`."""
    return {CATEGORIES[category]: truth for category, truth in clip.attributes.items() if category in CATEGORIES}


def read_clip(frames: Tensor) -> Reading:
    """Read the attributes of a clip.

    Args:
        frames: uint8 (F, 3, H, H) with F >= 2 and H >= 32, evenly spaced from the clip's first frame to its last.

    Raises:
        ValueError: the frames have another type or shape.
    """
    if frames.dtype != torch.uint8 or frames.ndim != 4 or frames.shape[1] != 3 or len(frames) < 2:
        raise ValueError(f"frames must be uint8 (F, 3, H, H), F at least 2, not {frames.dtype} {tuple(frames.shape)}.")
    found = find_colour(frames)
    if found is None:
        return Reading()
    colour, coverage = found
    spots = find_spots(coverage)
    if not spots:
        return Reading()
    by_frame = [[spot for spot in spots if spot.frame == frame] for frame in range(len(frames))]
    number = mode(len(one) for one in by_frame if one)
    direction, speed = read_motion(follow_object(by_frame), steps=len(frames) - 1)
    return Reading(
        shape=read_shape(spots),
        colour=colour,
        motion_direction=direction,
        speed=speed,
        count=COUNTS[number - 1] if number <= len(COUNTS) else None,
    )


def find_colour(frames: Tensor) -> tuple[str, np.ndarray] | None:
    """The main colour and its coverage of each pixel, (F, H, H), about 0 to 1; None if nothing stands out."""
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
    """Colour differences (N, 3, ...) with reduced brightness."""
    return colours - (1 - BRIGHTNESS) * colours.mean(1, keepdims=True)


def blur(images: np.ndarray, sigma: float) -> np.ndarray:
    """Images (..., H, W) blurred by a Gaussian of `sigma` pixels."""
    return ndimage.gaussian_filter(images, sigma, mode="nearest", truncate=3, axes=(-2, -1))


def unit_vectors(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def find_spots(coverage: np.ndarray) -> list[Spot]:
    """The objects in all frames, from the coverage (F, H, H) of the main colour."""
    size = coverage.shape[-1]
    labels, _ = ndimage.label(blur(coverage, SMOOTHING * size) > 0.5, structure=WITHIN_A_FRAME)
    areas = np.bincount(labels.ravel())
    areas[0] = 0
    least = max(LEAST_AREA * size**2, LEAST_SHARE * areas.max())
    labels *= (areas >= least)[labels]
    # Soft edges belong to the nearest object.
    with_edges = labels
    for _ in range(round(size / 16)):
        with_edges = np.where(with_edges > 0, with_edges, ndimage.maximum_filter(with_edges, size=(1, 3, 3)))
    spots = []
    for label, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is None:
            continue
        frame = box[0].start
        own = coverage[frame] * (with_edges[frame] == label)
        row, column = ndimage.center_of_mass(own.clip(min=0))
        place = ((column + 0.5) / size, (row + 0.5) / size)
        at_border = any(side.start == 0 or side.stop == size for side in box[1:])
        # In noise the surroundings may be darker than the background by more than the object is brighter.
        spots.append(Spot(frame, place, max(1.0, float(own.sum())) / size**2, at_border, own))
    return spots


def follow_object(by_frame: Sequence[Sequence[Spot]]) -> list[Spot]:
    """One object through the frames: the largest one, and in the other frames the one nearest to its last position."""
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


def read_motion(path: Sequence[Spot], *, steps: int) -> tuple[str | None, str | None]:
    """Direction and speed by a Theil-Sen line through the positions; None if the object stands still."""
    inside = [spot for spot in path if not spot.at_border]
    path = inside if len(inside) >= max(2, len(path) / 2) else path
    if len(path) < 2:
        return None, None
    frames = [spot.frame for spot in path]
    slopes = [stats.theilslopes([spot.place[axis] for spot in path], frames).slope for axis in (0, 1)]
    x, y = (slope * steps for slope in slopes)
    moved = max(abs(x), abs(y))
    if moved < STILL_BELOW:
        return None, None
    direction = max(DIRECTIONS, key=lambda name: x * DIRECTIONS[name][0] + y * DIRECTIONS[name][1])
    return direction, "fast" if moved > FAST_ABOVE else "slow"


def read_shape(spots: Sequence[Spot]) -> str:
    """The shape of the template that is most similar to the objects' mean image."""
    inside = [spot for spot in spots if not spot.at_border] or spots
    unit = median(spot.area for spot in inside) ** 0.5
    points = np.linspace(-REACH, REACH, PICTURE) * unit
    pictures = []
    for spot in inside:
        x, y = np.meshgrid(points + spot.place[0], points + spot.place[1])
        pixels = np.stack([y, x]) * len(spot.coverage) - 0.5
        pictures.append(ndimage.map_coordinates(spot.coverage, pixels, order=1, mode="grid-constant"))
    similarity = shape_templates() @ np.mean(pictures, axis=0).ravel()
    return OBJECTS[int(similarity.reshape(len(OBJECTS), -1).max(1).argmax())]


@cache
def shape_templates() -> np.ndarray:
    """Images of objects of area 1 as unit vectors (N, PICTURE**2): each shape in several sizes, positions and blurs."""
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
