"""CPU time of reading a tokeniser's frames out of files, ours against other ways."""

import resource
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from vtok.benchmark.peers import Method
from vtok.data import open_video


@dataclass(frozen=True)
class Timing:
    """One way on one clip.

    Attributes:
        seconds: CPU time of each round, of this process and of those it started.
        ratios: the same over that of the first way in the same round.
        apart: mean distance of its pixels from those of the first way, in grey levels; None where shapes differ.
        error: why it could not read the clip; the others are empty then.
    """

    seconds: tuple[float, ...] = ()
    ratios: tuple[float, ...] = ()
    apart: float | None = None
    error: str | None = None

    def row(self) -> dict[str, object]:
        """For a json file."""
        if self.error is not None:
            return {"error": self.error}
        return {
            "cpu_seconds": statistics.median(self.seconds),
            "ratio": statistics.median(self.ratios),
            "ratio_min": min(self.ratios),
            "ratio_max": max(self.ratios),
            "grey_levels_apart": self.apart,
        }


def measure(
    path: Path, methods: dict[str, Method], *, stride: int, frames: int, size: int, runs: int
) -> dict[str, Timing]:
    """Every `stride`-th frame of a file, up to `frames`, as squares of `size` pixels, by each of the methods.

    They take turns in each of `runs` rounds, so that what else the machine does falls on all of them; a round before
    these is not counted. The first of the methods is what the others are compared to.

    Raises:
        BadVideoError: our reader cannot read the file.
    """
    with open_video(path) as video:
        indices = list(range(0, len(video.timestamps), stride))[:frames]
        height, width = video.read([0]).shape[2:]
    shape = (height, width)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        first, errors, apart = _try(path, methods, indices, shape, size)
        working = {name: method for name, method in methods.items() if name not in errors}
        rounds = [
            {name: _cpu_seconds(method, path, indices, shape, size) for name, method in working.items()}
            for _ in range(runs)
        ]
    finally:
        torch.set_num_threads(threads)
    timings = {name: Timing(error=error) for name, error in errors.items()}
    for name in working:
        seconds = tuple(one[name] for one in rounds)
        ratios = tuple(one[name] / one[first] for one in rounds)
        timings[name] = Timing(seconds, ratios, apart[name])
    return {name: timings[name] for name in methods}


def _try(
    path: Path, methods: dict[str, Method], indices: Sequence[int], shape: tuple[int, int], size: int
) -> tuple[str, dict[str, str], dict[str, float | None]]:
    """The name of the first method, what others fail with, and how far their pixels are from the first one's."""
    first, truth = next(iter(methods)), None
    errors: dict[str, str] = {}
    apart: dict[str, float | None] = {}
    for name, method in methods.items():
        try:
            read = method(path, indices, shape, size)
        except Exception as error:
            # A library of others may fail by any error, which is a result; ours may not.
            if truth is None:
                raise
            errors[name] = f"{type(error).__name__}: {error}".split("\n")[0]
            continue
        truth = read if truth is None else truth
        apart[name] = _distance(read, truth)
    return first, errors, apart


def _distance(read: Tensor, truth: Tensor) -> float | None:
    return (read.float() - truth.float()).abs().mean().item() if read.shape == truth.shape else None


def _cpu_seconds(method: Method, path: Path, indices: Sequence[int], shape: tuple[int, int], size: int) -> float:
    before = _used()
    method(path, indices, shape, size)
    return _used() - before


def _used() -> float:
    """CPU seconds of this process with its threads, and of the processes it has waited for."""
    both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in both)
