"""Timing work on a device, and statistics of repeated measurements."""

import statistics
import time
from collections.abc import Sequence

import torch


def now(device: torch.device) -> float:
    """A time in seconds, after the device has finished its queued work; only differences between calls have meaning."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def median_min_max(values: Sequence[float]) -> tuple[float, float, float]:
    return statistics.median(values), min(values), max(values)


def spread(values: Sequence[float], *, digits: int = 2) -> str:
    """For a table: "MEDIAN (MIN to MAX)"."""
    median, least, most = median_min_max(values)
    return f"{median:.{digits}f} ({least:.{digits}f} to {most:.{digits}f})"
