"""CPU time of reading frames from video files, by vtok's reader, naive PyAV, ffmpeg, torchcodec and decord.

    python benchmarks/decode.py 'video=[a.mp4,FOLDER]' runs=9

from the root of a checkout, with vtok installed; the extra vtok[bench] brings torchcodec and decord.
"""

import json
import logging
import resource
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from readers import Reader, installed_readers
from synthetic_clips import write_clips
from vtok.cli.main import run_script
from vtok.common.errors import UserError
from vtok.common.files import check_writable, write_text
from vtok.common.paths import user_path
from vtok.common.setting_types import Count
from vtok.common.tables import table
from vtok.data import open_video
from vtok.data.video.container import VIDEO_SUFFIXES
from vtok.evaluation.cost.timing import spread

log = logging.getLogger("vtok")


def decode(
    *,
    video: Sequence[str] = (),
    stride: Count = 6,
    frames: Count = 30,
    size: Count = 336,
    runs: Count = 9,
    out: str | None = None,
) -> str:
    """CPU time of reading frames, by vtok's reader and by others (naive PyAV, ffmpeg, torchcodec, decord).

    Each reads every stride-th frame as a square of uint8 RGB, with one thread. They take turns in each round. Readers
    that are not installed are left out; the extra vtok[bench] installs torchcodec and decord.

    Args:
        video: video files or folders, [A,B]; []: synthetic clips.
        stride: video frames between two frames that are read.
        frames: largest number of frames read from a clip.
        size: side of the frames in pixels.
        runs: number of rounds in which each reader reads each clip.
        out: JSON file for the metrics.

    Raises:
        UserError: if a file does not exist or cannot be read.
    """
    if out is not None:
        check_writable(Path(out), suffix=".json")
    paths = video_files(video)
    readers, missing = installed_readers()
    for name, reason in missing.items():
        log.info("%s is not measured: %s", name, reason)
    with tempfile.TemporaryDirectory() as folder:
        results: dict[str, dict[str, Timing]] = {}
        for path in paths or write_clips(Path(folder)):
            log.info("reading %s", path.name)
            clip = str(path) if video else path.name
            results[clip] = measure(path, readers, stride=stride, frames=frames, size=size, runs=runs)
    if out is not None:
        plan = {"stride": stride, "frames": frames, "size": size, "runs": runs}
        clips = {clip: {name: timing.row() for name, timing in row.items()} for clip, row in results.items()}
        write_text(Path(out), json.dumps({"plan": plan, "left_out": missing, "clips": clips}, indent=1))
    return results_table(results)


def video_files(video: Sequence[str]) -> list[Path]:
    """The files named by `video`, and the video files in the folders named by it.

    Raises:
        UserError: if one of them does not exist, or a folder holds no video.
    """
    found: list[Path] = []
    for name in video:
        path = user_path(name)
        if not path.is_dir():
            if not path.exists():
                raise UserError(f"video={name}: there is no such file or folder. Use an existing video.")
            found.append(path)
        elif inside := sorted(file for file in path.iterdir() if file.suffix.lower() in VIDEO_SUFFIXES):
            found += inside
        else:
            raise UserError(
                f"video={name}: the folder holds no video file. Use a folder with {', '.join(VIDEO_SUFFIXES)} files."
            )
    return found


@dataclass(frozen=True)
class Timing:
    """One reader on one clip.

    Attributes:
        seconds: CPU time of each round, of this process and the processes it started.
        ratios: the same, divided by the first reader's in the same round.
        apart: mean absolute difference of its pixels from the first reader's, in grey levels; None if shapes differ.
        error: why it could not read the clip; the others are empty then.
    """

    seconds: tuple[float, ...] = ()
    ratios: tuple[float, ...] = ()
    apart: float | None = None
    error: str | None = None

    def row(self) -> dict[str, object]:
        """The entry for a JSON file."""
        if self.error is not None:
            return {"error": self.error}
        return {
            "cpu_seconds": statistics.median(self.seconds),
            "ratio": statistics.median(self.ratios),
            "ratio_min": min(self.ratios),
            "ratio_max": max(self.ratios),
            "grey_levels_apart": self.apart,
        }


def results_table(results: dict[str, dict[str, Timing]]) -> str:
    """A row for each clip: the first reader's milliseconds, and the others' ratios to it as median (min to max)."""
    first, *others = next(iter(results.values()))
    rows = [("CPU time", f"{first}, ms", *(f"{name}, times that" for name in others))]
    notes = []
    for clip, row in results.items():
        ratios = [spread(row[name].ratios) if row[name].ratios else "fails" for name in others]
        rows.append((Path(clip).name, f"{1000 * statistics.median(row[first].seconds):.1f}", *ratios))
        notes += [f"{Path(clip).name}: {name}: {timing.error}" for name, timing in row.items() if timing.error]
    return "\n".join([table(rows), *notes])


def measure(
    path: Path, readers: dict[str, Reader], *, stride: int, frames: int, size: int, runs: int
) -> dict[str, Timing]:
    """The time of each reader for every `stride`-th frame of a file, at most `frames`.

    They take turns in each of `runs` rounds, so that other load on the machine falls on all of them. A first reading,
    in which pixels are compared, is not timed. The first reader is the one that the others are compared with.

    Raises:
        BadVideoError: if the first reader cannot read the file.
    """
    with open_video(path) as video:
        indices = list(range(0, len(video.timestamps), stride))[:frames]
        height, width = video.read([0]).shape[2:]
    shape = (height, width)
    first, *others = readers
    timings: dict[str, Timing] = {}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        expected = readers[first](path, indices, shape, size)
        apart: dict[str, float | None] = {first: 0.0}
        for name in others:
            try:
                apart[name] = difference(readers[name](path, indices, shape, size), expected)
            # Other libraries may fail with any error, which is a result.
            except Exception as error:
                timings[name] = Timing(error=f"{type(error).__name__}: {error}".split("\n")[0])
        rounds = [{name: cpu_seconds(readers[name], path, indices, shape, size) for name in apart} for _ in range(runs)]
    finally:
        torch.set_num_threads(threads)
    for name in apart:
        seconds = tuple(each[name] for each in rounds)
        timings[name] = Timing(seconds, tuple(each[name] / each[first] for each in rounds), apart[name])
    return {name: timings[name] for name in readers}


def difference(pixels: Tensor, expected: Tensor) -> float | None:
    return (pixels.float() - expected.float()).abs().mean().item() if pixels.shape == expected.shape else None


def cpu_seconds(reader: Reader, path: Path, indices: Sequence[int], shape: tuple[int, int], size: int) -> float:
    """CPU seconds of one reading, of this process and its finished child processes."""

    def used() -> float:
        usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        return sum(usage.ru_utime + usage.ru_stime for usage in usages)

    before = used()
    reader(path, indices, shape, size)
    return used() - before


if __name__ == "__main__":
    sys.exit(run_script(decode))
