"""What is to be seen in a clip of data=shapes, read off its pixels: nothing here was learnt, and nothing is random.

A frame's median is its background, and what differs from it in the clip's main colour is a thing. A thing's place is
its centre of mass, its move a line through its places, and its shape the one whose drawing is most like its picture.
Lengths are fractions of the frame's side, as those of scenes are.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from statistics import median, mode

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from vtok.data import Clip
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
    cover: Tensor


def truth_of(clip: Clip) -> dict[str, str]:
    """The clip's true attributes, of those that `read_clip` reads and under its names."""
    return {CATEGORIES[category]: truth for category, truth in clip.attributes.items() if category in CATEGORIES}


@torch.no_grad()
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


def find_colour(frames: Tensor) -> tuple[str, Tensor] | None:
    """The main colour, and how much of every pixel is of it: (F, H, H), about 0 to 1. None where nothing stands out."""
    size = min(LARGEST, frames.shape[-1])
    pixels = frames.float()
    if size < frames.shape[-1]:
        pixels = F.interpolate(pixels, (size, size), mode="bilinear", antialias=True)
    ground = pixels.flatten(2).median(-1).values
    contrast = less_bright(pixels - ground[..., None, None])
    smooth = blur(contrast, SMOOTHING * size).transpose(0, 1).flatten(1)
    strength = smooth.norm(dim=0)
    peak = float(strength.quantile(0.995))
    if peak < LEAST_CONTRAST:
        return None
    palette = less_bright(torch.tensor(list(COLOURS.values())).float() - ground.median(0).values)
    nearest = (F.normalize(palette, dim=1) @ smooth).argmax(0)
    votes = torch.bincount(nearest, weights=strength * (strength > peak / 2), minlength=len(COLOURS))
    main = int(votes.argmax())
    own = smooth[:, (nearest == main) & (strength > 0.7 * peak)]
    if own.shape[1] == 0:
        return None
    axis = own.mean(1)
    cover = torch.einsum("fchw,c->fhw", contrast, axis / axis.square().sum())
    return list(COLOURS)[main], cover


def less_bright(colours: Tensor) -> Tensor:
    """Differences of colours (N, 3, ...) with less of their brightness."""
    return colours - (1 - BRIGHTNESS) * colours.mean(1, keepdim=True)


def blur(images: Tensor, sigma: float) -> Tensor:
    """Images (N, C, H, W) blurred by a Gaussian of `sigma` pixels."""
    radius = max(1, round(3 * sigma))
    kernel = torch.exp(-torch.arange(-radius, radius + 1).square() / (2 * sigma**2))
    kernel = (kernel / kernel.sum()).expand(images.shape[1], 1, 1, -1)
    padded = F.pad(images, (radius, radius, radius, radius), mode="replicate")
    rows = F.conv2d(padded, kernel, groups=images.shape[1])
    return F.conv2d(rows, kernel.transpose(2, 3), groups=images.shape[1])


def find_spots(cover: Tensor) -> list[Spot]:
    """The things of all frames, by their cover (F, H, H)."""
    size = cover.shape[-1]
    smooth = blur(cover[:, None], SMOOTHING * size)[:, 0]
    labels = components(smooth > 0.5)
    areas = torch.bincount(labels.flatten())
    areas[0] = 0
    least = max(LEAST_AREA * size**2, LEAST_SHARE * int(areas.max()))
    labels = labels * (areas >= least)[labels]
    # Soft edges belong to the thing that they are next to.
    whole = labels
    for _ in range(round(size / 16)):
        whole = torch.where(whole > 0, whole, F.max_pool2d(whole[:, None].float(), 3, 1, 1)[:, 0].long())
    axis = (torch.arange(size) + 0.5) / size
    spots = []
    for label in labels.unique()[1:].tolist():
        frame = int((labels == label).flatten(1).any(1).nonzero()[0])
        inside = labels[frame] == label
        own = cover[frame] * (whole[frame] == label)
        weight = own.clamp(min=0)
        total = weight.sum()
        place = (float((weight.sum(0) * axis).sum() / total), float((weight.sum(1) * axis).sum() / total))
        cut = bool(inside[0].any() or inside[-1].any() or inside[:, 0].any() or inside[:, -1].any())
        # What lies around a thing may be darker than the ground, in noise by more than the thing is brighter.
        area = max(1.0, float(own.sum())) / size**2
        spots.append(Spot(frame, place, area, cut, own))
    return spots


def components(masks: Tensor) -> Tensor:
    """Number the connected areas of masks (F, H, W), 0 outside of them: each has the largest number of its pixels."""
    labels = torch.arange(1, masks.numel() + 1).view_as(masks) * masks
    while True:
        spread = labels[:, None].double()
        spread = torch.maximum(F.max_pool2d(spread, (3, 1), 1, (1, 0)), F.max_pool2d(spread, (1, 3), 1, (0, 1)))
        after = spread[:, 0].long() * masks
        if torch.equal(after, labels):
            return labels
        labels = after


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
    """Direction and speed by the median of the slopes between all pairs of places (Theil and Sen's line)."""
    whole = [spot for spot in path if not spot.cut]
    path = whole if len(whole) >= max(2, len(path) / 2) else path
    if len(path) < 2:
        return None, None
    pairs = list(combinations(path, 2))
    x, y = (
        median((second.place[axis] - first.place[axis]) / (second.frame - first.frame) for first, second in pairs)
        * steps
        / span
        for axis in (0, 1)
    )
    moved = max(abs(x), abs(y))
    if moved < STANDS:
        return None, None
    direction = max(DIRECTIONS, key=lambda name: x * DIRECTIONS[name][0] + y * DIRECTIONS[name][1])
    return direction, "fast" if moved > FAST else "slow"


def read_shape(spots: Sequence[Spot]) -> str:
    """The shape whose drawing is most like the things' mean picture."""
    whole = [spot for spot in spots if not spot.cut] or spots
    unit = median(spot.area for spot in whole) ** 0.5
    points = torch.linspace(-REACH, REACH, PICTURE) * unit
    grid = torch.stack(
        [
            torch.stack(torch.meshgrid(points + spot.place[0], points + spot.place[1], indexing="xy"), -1)
            for spot in whole
        ]
    )
    covers = torch.stack([spot.cover for spot in whole])[:, None]
    picture = F.grid_sample(covers, 2 * grid - 1, align_corners=False).mean((0, 1))
    likeness = drawings() @ F.normalize(picture.flatten(), dim=0)
    return OBJECTS[int(likeness.view(len(OBJECTS), -1).amax(1).argmax())]


@cache
def drawings() -> Tensor:
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
    sharp = torch.from_numpy(np.stack(drawn)).float()[:, None]
    soft = torch.stack([blur(sharp, sigma / step) for sigma in (0.08, 0.12, 0.17, 0.24, 0.32, 0.42)], 1)
    return F.normalize(soft.flatten(2), dim=2).view(-1, PICTURE**2)
