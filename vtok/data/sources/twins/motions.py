"""Finds ranges of clips with motion in one direction, in the flow statistics of their files."""

from typing import NamedTuple

import numpy as np

from vtok.data.clip import Clip
from vtok.data.clip_settings import ClipSettings
from vtok.data.flow import VideoFlow
from vtok.data.sources.twins.versions import FLOW, Category

# Motion in a category is this many times the motion across.
LEAST_ASPECT = 2.0
# Share of the picture that moves, on average over the range: below it is noise.
LEAST_SHARE = 0.02
# Rounding of the times in a flow file, in seconds.
TOLERANCE = 1e-3


class Motion(NamedTuple):
    """A range of a clip with motion in one direction: its start in seconds, and the number of the answer."""

    start: float
    answer: int


def motions_of(
    clip: Clip, flow: VideoFlow, settings: ClipSettings, *, least_shift: float, least_coherence: float
) -> dict[Category, Motion]:
    """The range of a clip with the largest coherent motion, by category of `FLOW`; empty if there is none.

    A range has the length of a clip as it is read. Its motion is the sum of its steps. It must reach `least_shift` in
    one direction, be twice as large as the motion across, and be at least `least_coherence` of the length of the path
    (1: every step goes the same way).

    Args:
        clip: the clip.
        flow: flow statistics of its file.
        settings: how clips are read.
        least_shift: smallest motion in picture widths.
        least_coherence: smallest motion as a share of the length of its path.
    """
    if len(flow.moves) == 0:
        return {}
    rate = settings.fps or flow.step / float(np.median(np.diff(flow.seconds)))
    length = (settings.num_frames - 1) / rate
    found: dict[Category, tuple[float, Motion]] = {}
    last = flow.seconds[-1] if clip.end is None else min(flow.seconds[-1], clip.end)
    for first, start in enumerate(flow.seconds):
        if start < clip.start - TOLERANCE or start + length > last + TOLERANCE:
            continue
        stop = int(np.searchsorted(flow.seconds, start + length + TOLERANCE)) - 1
        moves = flow.moves[first:stop]
        path = np.hypot(*moves.T).sum()
        move = moves.sum(axis=0)
        if path == 0 or np.hypot(*move) < least_coherence * path or flow.shares[first:stop].mean() < LEAST_SHARE:
            continue
        for axis, category in enumerate(FLOW):
            along, across = abs(move[axis]), abs(move[1 - axis])
            best = found[category][0] if category in found else 0.0
            if along >= max(least_shift, LEAST_ASPECT * across) and along > best:
                # Right and down are the second answers.
                found[category] = (along, Motion(max(clip.start, float(start)), int(move[axis] > 0)))
    return {category: motion for category, (_, motion) in found.items()}
