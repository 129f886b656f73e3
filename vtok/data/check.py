"""Checks that every frame of every clip of a data set can be read."""

import statistics
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import get_context
from typing import Any

from vtok.common.errors import UserError
from vtok.data.clip import Clip
from vtok.data.clip_reader import clip_frames, truncation
from vtok.data.video.common import BadVideoError
from vtok.data.video.read import open_clip

SIDE = 16  # pixels; the codec decodes full frames in any case


@dataclass(frozen=True)
class Checked:
    """The result of reading a clip.

    Attributes:
        seconds: time from the first frame to the last.
        reason: why the clip is broken; None if it is not.
    """

    id: str
    path: str
    codec: str | None = None
    frames: int = 0
    seconds: float = 0.0
    width: int = 0
    height: int = 0
    reason: str | None = None


def check_clip(clip: Clip, frames_fps: float, *, timeout: float | None) -> Checked:
    """Decode every frame of a clip, in one pass."""
    try:
        with open_clip(clip, frames_fps=frames_fps, timeout=timeout) as video:
            times = video.timestamps
            chosen = clip_frames(times, clip, num_frames=len(times), fps=None)
            height, width = video.read(chosen[:1].tolist()).shape[2:]
            video.read(chosen.tolist(), SIDE)
            return Checked(
                clip.id,
                str(clip.path),
                codec=video.codec,
                frames=len(chosen),
                seconds=float(times[chosen[-1]] - times[chosen[0]]),
                width=width,
                height=height,
                reason=truncation(video, clip),
            )
    except BadVideoError as error:
        return Checked(clip.id, str(clip.path), reason=error.reason)
    except UserError as error:
        return Checked(clip.id, str(clip.path), reason=str(error))


def check_clips(
    clips: Sequence[Clip], rates: Sequence[float], *, timeout: float | None, processes: int
) -> Iterator[Checked]:
    """`check_clip` of every clip, in order.

    Args:
        clips: clips to read.
        rates: for each clip, frames a second if it is a folder of images.
        timeout: seconds after which reading a clip fails; None: no limit.
        processes: number of processes that decode.
    """
    check = partial(check_clip, timeout=timeout)
    if processes == 1:
        yield from map(check, clips, rates)
        return
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        yield from pool.map(check, clips, rates, chunksize=4)


def summary(checked: Iterable[Checked]) -> dict[str, Any]:
    """Counts of codecs and sizes, statistics of lengths, and the broken clips with their reasons."""
    clips = list(checked)
    good = [clip for clip in clips if clip.reason is None]
    lengths = sorted(clip.seconds for clip in good) or [0.0]
    return {
        "clips": len(clips),
        "broken": {clip.id: clip.reason for clip in clips if clip.reason is not None},
        "codecs": dict(Counter(str(clip.codec) for clip in good).most_common()),
        "sizes": dict(Counter(f"{clip.width}x{clip.height}" for clip in good).most_common()),
        "frames": sum(clip.frames for clip in good),
        "seconds": {
            "least": lengths[0],
            "median": statistics.median(lengths),
            "most": lengths[-1],
            "all": sum(lengths),
        },
        "files": [asdict(clip) for clip in clips],
    }
