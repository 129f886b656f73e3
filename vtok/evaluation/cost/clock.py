"""What time it is, once all that was asked of a device is done."""

import time

import torch


def now(device: torch.device) -> float:
    """Seconds of a clock that only differences are taken of."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
