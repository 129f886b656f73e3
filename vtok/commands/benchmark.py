"""`vtok benchmark decode` and `vtok benchmark train`."""

import json
import logging
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path

from vtok.benchmark.clips import make_clips
from vtok.benchmark.decode import Timing, measure
from vtok.benchmark.peers import methods
from vtok.benchmark.train import least_steps
from vtok.benchmark.train import measure as measure_training
from vtok.config import check, compose
from vtok.data.container import VIDEO_SUFFIXES
from vtok.data.write import check_writable
from vtok.errors import UserError
from vtok.planning import table
from vtok.runs import write_text

log = logging.getLogger("vtok")


def benchmark_decode(*, video: list[str], stride: int, frames: int, size: int, runs: int, out: str | None) -> str:
    """The table; also written to `out` as json, with the figures of every clip.

    Raises:
        UserError: there is no such file, or one that cannot be read; a count below 1.
    """
    for name, count in (("stride", stride), ("frames", frames), ("size", size), ("runs", runs)):
        if count < 1:
            raise UserError(f"{name}={count}: allowed is 1 or more.")
    if out is not None:
        check_writable(Path(out), suffix=".json")
    given = files(video)
    found, missing = methods()
    for name, reason in missing.items():
        log.info("%s is left out: %s", name, reason)
    with tempfile.TemporaryDirectory() as folder:
        results: dict[str, dict[str, Timing]] = {}
        for path in given or make_clips(Path(folder)):
            log.info("reading %s", path.name)
            name = str(path) if video else path.name
            results[name] = measure(path, found, stride=stride, frames=frames, size=size, runs=runs)
    if out is not None:
        plan = {"stride": stride, "frames": frames, "size": size, "runs": runs}
        clips = {clip: {name: timing.row() for name, timing in row.items()} for clip, row in results.items()}
        write_text(Path(out), json.dumps({"plan": plan, "left_out": missing, "clips": clips}, indent=1))
    return shown(results)


def files(video: list[str]) -> list[Path]:
    """The files, and those in the folders, that `video` names.

    Raises:
        UserError: one of them is not there, or a folder holds no video.
    """
    found: list[Path] = []
    for name in video:
        path = Path(name).expanduser()
        if not path.exists():
            raise UserError(f"video={name}: there is no such file or folder.")
        if not path.is_dir():
            found.append(path)
            continue
        inside = sorted(file for file in path.iterdir() if file.suffix.lower() in VIDEO_SUFFIXES)
        if not inside:
            raise UserError(f"video={name}: the folder holds no video file ({', '.join(VIDEO_SUFFIXES)}).")
        found += inside
    return found


def shown(results: dict[str, dict[str, Timing]]) -> str:
    """A row a clip: our milliseconds, and what each other way takes of them, median (least to most of the rounds)."""
    first, *others = next(iter(results.values()))
    rows = [("CPU time", f"{first}, ms", *(f"{name}, times that" for name in others))]
    for clip, row in results.items():
        ratios = [spread(row[name].ratios) if row[name].ratios else "fails" for name in others]
        rows.append((Path(clip).name, f"{1000 * statistics.median(row[first].seconds):.1f}", *ratios))
    notes = [
        f"{Path(clip).name}: {name}: {timing.error}"
        for clip, row in results.items()
        for name, timing in row.items()
        if timing.error
    ]
    return "\n".join([table(rows), *notes])


def spread(values: Sequence[float], *, digits: int = 2) -> str:
    """The median, and the least and the most."""
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def benchmark_train(*, overrides: list[str], steps: int, out: str | None) -> str:
    """What the trainer costs beside a bare loop; also written to `out` as json.

    Raises:
        UserError: too few steps, or a configuration that cannot run.
    """
    if out is not None:
        check_writable(Path(out), suffix=".json")
    config = compose(overrides)
    check(config)
    turn = config.trainer.log_every
    if steps < (least := least_steps(turn)):
        raise UserError(
            f"steps={steps}: allowed are {least} or more, to compare turns of trainer.log_every={turn} steps."
        )
    result = measure_training(config, steps=steps)
    if out is not None:
        figures = {"trainer": result.trainer, "bare": result.bare, "ratios": result.ratios, "shares": result.shares}
        write_text(Path(out), json.dumps({"overrides": overrides, "steps": steps, "turn": turn, **figures}, indent=1))
    low, middle, high = quartiles(result.ratios)
    lines = [
        f"trainer    {1000 * statistics.mean(result.trainer):.1f} ms a step",
        f"bare loop  {1000 * statistics.mean(result.bare):.1f} ms a step",
        f"ratio      {result.ratio:.3f} in all; of {len(result.ratios)} turns of {turn} steps the median is "
        f"{middle:.3f}, half are from {low:.3f} to {high:.3f}",
    ]
    if result.shares:
        parts = ", ".join(f"{part} {share:.1%}" for part, share in result.shares.items())
        lines.append(f"its time   {parts}")
    return "\n".join(lines)


def quartiles(values: Sequence[float]) -> list[float]:
    return statistics.quantiles(values) if len(values) > 1 else [*values] * 3
