"""Seconds of work on a device, and what repeated measurements come to."""

import statistics
import time
from collections.abc import Sequence

import torch


def now(device: torch.device) -> float:
    """Seconds, once the device has finished the work it was given; only differences between two calls mean anything."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def median_min_max(values: Sequence[float]) -> tuple[float, float, float]:
    return statistics.median(values), min(values), max(values)


def spread(values: Sequence[float], *, digits: int = 2) -> str:
    """For a table: "MEDIAN (MIN to MAX)"."""
    median, least, most = median_min_max(values)
    return f"{median:.{digits}f} ({least:.{digits}f} to {most:.{digits}f})"
