"""What tokenisers read of the pixels themselves: one number a frame."""

import torch
from torch import Tensor

# Frames in a chunk: as floating-point numbers they take four times the memory.
AT_ONCE = 16


def frame_sharpness(frames: Tensor) -> Tensor:
    """The variance (B, K) of the Laplacian of frames (B, K, 3, H, W)."""
    return torch.cat([_sharpness(few) for few in frames.split(AT_ONCE, dim=1)], dim=1)


def _sharpness(frames: Tensor) -> Tensor:
    grey = frames.float().mean(2)
    centre = grey[..., 1:-1, 1:-1]
    around = grey[..., :-2, 1:-1] + grey[..., 2:, 1:-1] + grey[..., 1:-1, :-2] + grey[..., 1:-1, 2:]
    return (around - 4 * centre).flatten(2).var(2)


def frame_levels(frames: Tensor) -> Tensor:
    """The sum (B, K), int64, of the pixels in 0..255 of frames (B, K, 3, H, W), uint8 or float in [0, 1]."""
    levels = frames if frames.dtype == torch.uint8 else (255 * frames).round()
    return levels.sum((2, 3, 4), dtype=torch.float64).long()
