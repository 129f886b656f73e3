"""Random numbers that depend on a seed alone."""

from collections.abc import Sequence

import torch
from torch import Tensor


def seeded_noise(shape: Sequence[int], seeds: Sequence[int], *, like: Tensor) -> Tensor:
    """Standard normal float32 (len(seeds), *shape) on the device of `like`; each row depends on its seed alone.

    The numbers are drawn on the CPU: they are the same on every device and in every batch.
    """
    rows = [torch.randn(tuple(shape), generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    return torch.stack(rows).to(like.device)
