"""Augmentation of training clips; all frames of a clip are augmented alike."""

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
# Luma weights of ITU-R BT.601, as in Pillow.
GREY = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class View:
    """One draw of the augmentation, for all frames of a clip.

    Attributes:
        top, left, height, width: crop of the square frames, in fractions of their side.
        flipped: whether the frames are flipped horizontally.
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

    def apply(self, frames: Tensor) -> Tensor:
        """Crop, flip and colour square frames (N, 3, H, H): uint8 (N, 3, h, w).

        Brightness, contrast (about the mean grey of all frames) and saturation follow Pillow's `ImageEnhance`, in this
        order.
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
    """The luma (N, 1, H, W) of frames (N, 3, H, W)."""
    return (frames * frames.new_tensor(GREY).view(3, 1, 1)).sum(1, keepdim=True)


class Augmentation:
    """Random changes to a training clip each time it is read; the defaults change nothing.

    They are a random resized crop, as in Inception (Szegedy et al. 2015), a horizontal flip, colour jitter, and a
    random start in time. One draw applies to all frames of a clip, including the decoder's target frames.

    Args:
        min_area: smallest share of the frame's area in the crop, above 0 to 1.
        max_aspect: largest ratio of the crop's sides, 1 or more; a crop of a large area has a smaller one.
        horizontal_flip: probability of a flip, 0 to 1.
        left_right: treatment of clips whose text mentions left or right: "refuse" stops the run, "keep" never flips
            them, "flip" flips them like the others.
        brightness, contrast, saturation: half the range x of a random factor, which is drawn from 1 - x to 1 + x.
        random_start: whether a clip starts at a random frame of a longer file, instead of the first.
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
        """Factor by which frames are decoded larger, so that the smallest crop still has the size of the clip."""
        # A side is at most 1, so none is below the area.
        return 1 / max(self.min_area, math.sqrt(self.min_area / self.max_aspect))

    @property
    def changes(self) -> bool:
        """Whether any clip may change."""
        return vars(self) != vars(Augmentation(left_right=self.left_right))

    def view(self, clip: Clip, rng: np.random.Generator) -> View:
        """Draw the augmentation of a clip.

        Raises:
            UserError: the clip may be flipped, its text mentions left or right, and `left_right` is "refuse".
        """
        area = rng.uniform(self.min_area, 1.0)
        # A crop of a larger ratio would not fit into the frame.
        largest = min(math.log(self.max_aspect), -math.log(area))
        aspect = math.exp(rng.uniform(-1.0, 1.0) * largest)
        height, width = min(1.0, math.sqrt(area / aspect)), min(1.0, math.sqrt(area * aspect))
        top, left = rng.random() * (1 - height), rng.random() * (1 - width)
        flipped = bool(rng.random() < self.horizontal_flip)
        if self.horizontal_flip and self.left_right != "flip" and (side := direction_word(clip)) is not None:
            if self.left_right == "refuse":
                raise self._refusal(clip, side)
            flipped = False
        brightness, contrast, saturation = (
            1 + x * rng.uniform(-1.0, 1.0) for x in (self.brightness, self.contrast, self.saturation)
        )
        return View(top, left, height, width, flipped, brightness, contrast, saturation)

    def choose_frames(self, frames: np.ndarray, num_frames: int, rng: np.random.Generator) -> np.ndarray:
        """`num_frames` consecutive frames of a clip: the first ones, or with `random_start` any."""
        spare = len(frames) - num_frames
        start = int(rng.integers(spare + 1)) if self.random_start and spare > 0 else 0
        return frames[start : start + num_frames]

    def check(self, clips: Iterable[Clip]) -> None:
        """Raise UserError at the first clip that `left_right=refuse` forbids to flip."""
        if self.horizontal_flip and self.left_right == "refuse":
            for clip in clips:
                if (side := direction_word(clip)) is not None:
                    raise self._refusal(clip, side)

    def _refusal(self, clip: Clip, side: str) -> UserError:
        return UserError(
            f"data.augmentation.horizontal_flip={self.horizontal_flip}: the text of {clip.path} says {side!r}, which a "
            f"flip would make wrong. Set data.augmentation.left_right=keep to leave such clips unflipped, or "
            "left_right=flip to flip them too, or data.augmentation.horizontal_flip=0."
        )


def direction_word(clip: Clip) -> str | None:
    """The first word in a clip's texts that a flip would make wrong; None if there is none."""
    asked = (text for one in clip.questions for text in (one.text, one.answer, *one.choices))
    found = (SIDES.search(text) for text in (clip.caption or "", *asked))
    return next((match.group() for match in found if match is not None), None)
