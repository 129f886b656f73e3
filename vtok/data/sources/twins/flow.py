"""Reads the flow statistics of `vtok data flow`, and finds in them ranges with motion in one direction."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vtok.common.errors import UserError
from vtok.common.foreign_files import read_mapping
from vtok.common.overrides import command
from vtok.common.paths import user_path
from vtok.data.clip import Clip
from vtok.data.clip_settings import ClipSettings
from vtok.data.sources.twins.versions import FLOW, Category

# Motion in a category is this many times the motion across.
LEAST_ASPECT = 2.0
# Share of the picture that moves, on average over the range: below it is noise.
LEAST_SHARE = 0.02
# Rounding of the times in a flow file, in seconds.
TOLERANCE = 1e-3


class VideoFlow(NamedTuple):
    """Flow statistics of a video.

    Attributes:
        step: number of frames between two times.
        seconds: float64 (n + 1,), times of every `step`-th frame.
        moves: float64 (n, 2), mean flow between two times of what moves, to the right and down, in picture widths.
        shares: float64 (n,), share of the picture that moves.
    """

    step: int
    seconds: np.ndarray
    moves: np.ndarray
    shares: np.ndarray


class Motion(NamedTuple):
    """A range of a clip with motion in one direction: its start in seconds, and the number of the answer."""

    start: float
    answer: int


def read_flow(path: str | Path) -> dict[Path, VideoFlow]:
    """The flow statistics in a file of `vtok data flow`, by the path of the video.

    Raises:
        UserError: the file cannot be read, or is not of this kind.
    """
    file = user_path(path)
    again = f"Make it again with: {command('vtok', 'data', 'flow', f'root={file.parent}')}"
    try:
        content = read_mapping(file)
    except UserError as error:
        raise UserError(f"data.flow={path}: {error} {again}") from error
    match content:
        case {"width": int(width), "step": int(step), "videos": dict(videos)} if width > 0 and step > 0:
            try:
                return {file.parent / name: _video(video, width, step) for name, video in videos.items()}
            except (KeyError, TypeError, ValueError) as error:
                raise UserError(f"data.flow={path}: an entry is damaged ({error}). {again}") from error
    raise UserError(f"data.flow={path}: this is not a file of flow statistics. {again}")


def _video(content: Mapping[str, Any], width: int, step: int) -> VideoFlow:
    seconds = np.asarray(content["seconds"], dtype=np.float64)
    flow = np.asarray(content["flow"], dtype=np.float64).reshape(-1, 3)
    if len(seconds) != len(flow) + 1:
        raise ValueError(f"{len(seconds)} times for {len(flow)} steps")
    return VideoFlow(step, seconds, flow[:, :2] / width, flow[:, 2])


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
