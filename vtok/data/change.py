"""Frames that are kept for the change in a clip: where more happens there are more of them.

The change of a frame is the mean absolute difference from the planned frame before, in grey levels of 0 to 255, of the
CELLS x CELLS cells of the picture. Cells are means, so that the noise of single pixels counts less, and the size of the
frames hardly matters.

A clip whose changes have the sum A keeps floor(A / change) frames after the first, at equal shares of A. Over a data
set, these numbers equal D'Hondt's apportionment of tokens in proportion to A. So an exact threshold exists for any
wanted total (`change_for`).
"""

import math
from collections.abc import Sequence
from itertools import accumulate

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from vtok.common.errors import UserError

CELLS = 16
# Frames in a chunk: as floating-point numbers they take four times the memory.
AT_ONCE = 64
# Digits of a threshold, so that it can be typed.
DIGITS = 6


def frame_changes(frames: Tensor) -> list[float]:
    """The change of each frame after the first, in grey levels; frames (K, 3, H, W), uint8 or float in [0, 1]."""
    cells = torch.cat([grey_cells(few) for few in frames.split(AT_ONCE)])
    return cells.diff(dim=0).abs().mean((1, 2)).tolist()


def grey_cells(frames: Tensor) -> Tensor:
    """Grey levels in 0..255 of the cells of frames (K, 3, H, W): (K, CELLS, CELLS), float64 on the CPU."""
    levels = frames.detach().float() * (255 if frames.is_floating_point() else 1)
    return F.adaptive_avg_pool2d(levels.mean(1), CELLS).double().cpu()


def kept_frames(changes: Sequence[float], change: float) -> list[int]:
    """Positions of the frames that are kept: the first, and floor(A / change) others, at most all.

    With M others the j-th is the first frame until which j / M of A has happened, or the next one that is free.

    Args:
        changes: change of each frame after the first; A is their sum.
        change: change for which one frame is kept, in grey levels.
    """
    so_far = list(accumulate(changes, initial=0.0))
    total, last = so_far[-1], len(changes)
    number = min(last, math.floor(total / change))
    kept = [0]
    for share in range(1, number + 1):
        place = kept[-1] + 1
        while place < last - (number - share) and so_far[place] * number < share * total:
            place += 1
        kept.append(place)
    return kept


def kept_places(clips: Sequence[Tensor], change: float) -> tuple[Tensor, Tensor]:
    """Positions (B, n) of the kept frames of clips (K, 3, H, W), padded with 0, and a mask (B, n), False at padding."""
    chosen = [torch.tensor(kept_frames(frame_changes(clip), change), device=clip.device) for clip in clips]
    mask = pad_sequence([torch.ones_like(one, dtype=torch.bool) for one in chosen], batch_first=True)
    return pad_sequence(chosen, batch_first=True), mask


def change_for(mean: float, clips: Sequence[Sequence[float]]) -> float:
    """The change for which one frame is kept, so that clips keep `mean` frames after the first on average.

    Exact, unless clips are tied: then the mean is as near below `mean` as possible.

    Args:
        mean: wanted mean number of frames after the first.
        clips: the changes of each clip.

    Raises:
        UserError: the clips have fewer frames, or not enough of them change.
    """
    # A clip has its m-th frame when the threshold is at most A / m.
    thresholds = sorted(
        (math.fsum(changes) / number for changes in clips for number in range(1, len(changes) + 1)), reverse=True
    )
    wanted = round(mean * len(clips))
    changing = sum(one > 0 for one in thresholds)
    if not 0 < wanted < changing:
        raise UserError(
            f"tokens: a mean of {mean:g} motion tokens a clip is not possible with these clips. Use tokens above those "
            f"of the key frame by more than 0 and less than {changing / len(clips):.4g}, or a smaller tokeniser.stride."
        )
    return between(thresholds[wanted], thresholds[wanted - 1])


def between(low: float, high: float) -> float:
    """A number of few digits between two thresholds; just above both if they are the same."""
    middle = (low + high) / 2
    for digits in range(DIGITS, 18):
        rounded = float(f"{middle:.{digits}g}")
        if low < rounded < high:
            return rounded
    return high * (1 + 1e-9)
