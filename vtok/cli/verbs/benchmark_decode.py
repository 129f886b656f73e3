"""vtok benchmark decode: what reading frames costs, by us and by others."""

import json
import logging
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path

from vtok.benchmark.clips import make_clips
from vtok.benchmark.decode import Timing, measure
from vtok.benchmark.peers import methods
from vtok.common.errors import UserError
from vtok.common.files import check_writable, write_text
from vtok.common.paths import user_path
from vtok.common.setting_types import Count
from vtok.common.tables import table
from vtok.data.video.container import VIDEO_SUFFIXES

log = logging.getLogger("vtok")


def benchmark_decode(
    *,
    video: Sequence[str] = (),
    stride: Count = 6,
    frames: Count = 30,
    size: Count = 336,
    runs: Count = 9,
    out: str | None = None,
) -> str:
    """CPU time of reading frames, by our reader and by others (naive PyAV, ffmpeg, torchcodec, decord).

    Each takes every stride-th frame as a square of uint8 RGB, with one thread, in turns. What is not there is left out;
    the extra vtok[bench] installs torchcodec and decord.

    Args:
        video: video files or folders, [A,B]; []: synthetic clips.
        stride: video frames between two frames that are read.
        frames: largest number of frames read of a clip.
        size: side of the frames in pixels.
        runs: number of rounds in which each way reads each clip.
        out: JSON file for the metrics.

    Raises:
        UserError: there is no such file, or one that cannot be read; a count below 1.
    """
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


def files(video: Sequence[str]) -> list[Path]:
    """The files, and those in the folders, that `video` names.

    Raises:
        UserError: one of them is not there, or a folder holds no video.
    """
    found: list[Path] = []
    for name in video:
        path = user_path(name)
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
