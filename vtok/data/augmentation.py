"""Augmentation of training clips: what is random about a clip is the same for all of its frames."""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import torch
from annotated_types import Ge, Gt, Le
from torch import Tensor

from vtok.common.errors import UserError
from vtok.common.setting_types import Fraction
from vtok.data.clip import Clip

SIDES = re.compile(r"\b(left|right)(most|wards?)?\b|\b((anti|counter)-?)?clockwise\b", re.IGNORECASE)
# ITU-R BT.601, as Pillow turns colours to grey.
GREY = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class View:
    """How a clip is seen once.

    Attributes:
        top, left, height, width: the part of the square frames that is kept, in fractions of their side.
        flipped: whether left and right change places.
        brightness, contrast, saturation: factors; 1 changes nothing.
    """

    top: float = 0.0
    left: float = 0.0
    height: float = 1.0
    width: float = 1.0
    flipped: bool = False
    brightness: float = 1.0
    contrast: float = 1.0
    saturation: float = 1.0

    def of(self, frames: Tensor) -> Tensor:
        """The kept part of square frames (N, 3, H, H), coloured: uint8 (N, 3, h, w).

        Brightness, contrast (about the mean grey of all the frames) and saturation as in Pillow's `ImageEnhance`, one
        after the other.
        """
        side = frames.shape[-1]
        rows, columns = (max(1, round(side * part)) for part in (self.height, self.width))
        top, left = min(round(side * self.top), side - rows), min(round(side * self.left), side - columns)
        frames = frames[..., top : top + rows, left : left + columns]
        if self.flipped:
            frames = frames.flip(-1)
        if (self.brightness, self.contrast, self.saturation) != (1.0, 1.0, 1.0):
            pixels = (frames.float() * self.brightness).clamp_(0, 255)
            pixels = torch.lerp(grey(pixels).mean(), pixels, self.contrast).clamp_(0, 255)
            pixels = torch.lerp(grey(pixels), pixels, self.saturation).clamp_(0, 255)
            frames = pixels.round_().to(torch.uint8)
        return frames


def grey(frames: Tensor) -> Tensor:
    """Of frames (N, 3, H, W), (N, 1, H, W)."""
    return (frames * frames.new_tensor(GREY).view(3, 1, 1)).sum(1, keepdim=True)


class Augmentation:
    """How training clips are changed each time they are seen; what is at its default changes nothing.

    A part of the square frame of random size and place, as in Inception (Szegedy et al. 2015), a flip, colours, and
    the part in time. One draw holds for all frames of a clip, those that a decoder is to make included.

    Args:
        min_area: the least share of the frame's area that is kept, above 0 to 1.
        max_aspect: how many times longer than the other a side of the kept part may be, 1 or more.
        horizontal_flip: how likely a clip is flipped, 0 to 1.
        left_right: what a flip does to clips whose text speaks of left and right: "refuse" stops the run, "keep"
            leaves them as they are, "flip" flips them like the others.
        brightness, contrast, saturation: half the range of a random factor, which is drawn from 1 - x to 1 + x.
        random_start: start at a random frame of a longer file, not at the first.
    """

    def __init__(
        self,
        *,
        min_area: Annotated[float, Gt(0), Le(1)] = 1.0,
        max_aspect: Annotated[float, Ge(1)] = 1.0,
        horizontal_flip: Fraction = 0.0,
        left_right: Literal["refuse", "keep", "flip"] = "refuse",
        brightness: Fraction = 0.0,
        contrast: Fraction = 0.0,
        saturation: Fraction = 0.0,
        random_start: bool = False,
    ) -> None:
        self.min_area, self.max_aspect = min_area, max_aspect
        self.horizontal_flip, self.left_right = horizontal_flip, left_right
        self.brightness, self.contrast, self.saturation = brightness, contrast, saturation
        self.random_start = random_start

    @property
    def zoom(self) -> float:
        """How much larger than wanted frames are to be decoded, so that their smallest part is of the wanted size."""
        return 1 / math.sqrt(self.min_area)

    def view(self, clip: Clip, rng: np.random.Generator) -> View:
        """How a clip is seen this time.

        Raises:
            UserError: the clip may be flipped, and its text speaks of left and right.
        """
        area = rng.uniform(self.min_area, 1.0)
        aspect = math.exp(rng.uniform(-1.0, 1.0) * math.log(self.max_aspect))
        height, width = min(1.0, math.sqrt(area / aspect)), min(1.0, math.sqrt(area * aspect))
        top, left = rng.random() * (1 - height), rng.random() * (1 - width)
        flipped = bool(rng.random() < self.horizontal_flip)
        if self.horizontal_flip and self.left_right != "flip" and (side := side_of(clip)) is not None:
            if self.left_right == "refuse":
                raise self._refusal(clip, side)
            flipped = False
        brightness, contrast, saturation = (
            1 + x * rng.uniform(-1.0, 1.0) for x in (self.brightness, self.contrast, self.saturation)
        )
        return View(top, left, height, width, flipped, brightness, contrast, saturation)

    def part(self, frames: np.ndarray, num_frames: int, rng: np.random.Generator) -> np.ndarray:
        """So many of a clip's frames in a row, the first ones unless `random_start`."""
        spare = len(frames) - num_frames
        start = int(rng.integers(spare + 1)) if self.random_start and spare > 0 else 0
        return frames[start : start + num_frames]

    def check(self, clips: Iterable[Clip]) -> None:
        """Raise UserError at the first of `clips` that must not be flipped and would be."""
        if self.horizontal_flip and self.left_right == "refuse":
            for clip in clips:
                if (side := side_of(clip)) is not None:
                    raise self._refusal(clip, side)

    def _refusal(self, clip: Clip, side: str) -> UserError:
        return UserError(
            f"data.augmentation.horizontal_flip={self.horizontal_flip}: a flip makes a lie of the text of {clip.path}, "
            f"which says {side!r}; say data.augmentation.left_right=keep to leave such clips unflipped, flip to flip "
            "them like the others, or data.augmentation.horizontal_flip=0."
        )


def side_of(clip: Clip) -> str | None:
    """The first word in the text of a clip that a flip would change; None where there is none."""
    asked = (text for one in clip.questions for text in (one.text, one.answer, *one.choices))
    found = (SIDES.search(text) for text in (clip.caption or "", *asked))
    return next((match.group() for match in found if match is not None), None)
