"""Whether the clips of a data set can be read, all of them, every frame."""

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
from vtok.data.clip_reader import clip_frames, cut_off
from vtok.data.video.common import BadVideoError
from vtok.data.video.read import open_clip

SIDE = 16  # pixels; every frame is decoded whole whatever it is then scaled to


@dataclass(frozen=True)
class Checked:
    """What is known of a clip after reading it; `reason` says why it is broken, and is None of a good one.

    Attributes:
        seconds: from its first frame to its last.
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
                reason=cut_off(video, clip),
            )
    except BadVideoError as error:
        return Checked(clip.id, str(clip.path), reason=error.reason)
    except UserError as error:
        return Checked(clip.id, str(clip.path), reason=str(error))


def check_clips(
    clips: Sequence[Clip], rates: Sequence[float], *, timeout: float | None, processes: int
) -> Iterator[Checked]:
    """`check_clip` of each, in their order, by several processes where there are more than a few.

    `rates`: of each clip, frames a second if it is a folder of images.
    """
    check = partial(check_clip, timeout=timeout)
    if processes == 1:
        yield from map(check, clips, rates)
        return
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        yield from pool.map(check, clips, rates, chunksize=4)


def summary(checked: Iterable[Checked]) -> dict[str, Any]:
    """Counts of codecs and sizes, the spread of lengths, and the broken clips with their reasons."""
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
