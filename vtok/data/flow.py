"""The file of flow statistics beside the videos of a folder: `vtok data flow` writes it, `data=twins` reads it."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple

import numpy as np

from vtok.common.errors import UserError
from vtok.common.files import write_text
from vtok.common.foreign_files import read_mapping
from vtok.common.overrides import command
from vtok.common.paths import user_path
from vtok.data.clip import Clip
from vtok.data.file_identity import stamp_of
from vtok.data.video.common import BadVideoError
from vtok.data.video.optical_flow import FlowStatistics, flow_statistics

FLOW_FILE = "flow.json"
# Seconds between two savings: what a killed process has to compute again.
SAVE_EVERY = 30.0


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


def read_flow(path: str | Path) -> dict[str, VideoFlow]:
    """The flow statistics in a file of `vtok data flow`, by the absolute path of the video.

    Raises:
        UserError: the file cannot be read, or is not of this kind.
    """
    file = user_path(path)
    again = f"Make it with: {command('vtok', 'data', 'flow', f'root={file.parent}')}"
    try:
        content = read_mapping(file)
    except UserError as error:
        raise UserError(f"data.flow={path}: {error} {again}") from error
    match content:
        case {"width": int(width), "step": int(step), "videos": dict(videos)} if width > 0 and step > 0:
            try:
                found = {name: _video(video, width, step) for name, video in videos.items()}
            except (KeyError, TypeError, ValueError) as error:
                raise UserError(f"data.flow={path}: an entry is damaged ({error}). {again}") from error
            return {os.path.abspath(file.parent / name): flow for name, flow in found.items()}
    raise UserError(f"data.flow={path}: this is not a file of flow statistics. {again}")


def _video(content: Mapping[str, Any], width: int, step: int) -> VideoFlow:
    seconds = np.asarray(content["seconds"], dtype=np.float64)
    flow = np.asarray(content["flow"], dtype=np.float64).reshape(-1, 3)
    if len(seconds) != len(flow) + 1:
        raise ValueError(f"{len(seconds)} times for {len(flow)} steps")
    return VideoFlow(step, seconds, flow[:, :2] / width, flow[:, 2])


def write_flow(
    paths: Sequence[Path], out: Path, *, step: int, width: int, frames_fps: float, processes: int
) -> Iterator[tuple[Path, str | None]]:
    """Write or finish the file of flow statistics of videos, and yield each with the reason why it cannot be read.

    The file is saved twice a minute and at the end. Videos that are in the file and have not changed are not computed
    again.

    Args:
        paths: videos.
        out: the file. It names videos relative to its folder.
        step, width, frames_fps: see `flow_statistics`.
        processes: number of processes that decode.

    Raises:
        UserError: the file exists and is of other settings or another kind, or cannot be written.
    """
    videos = _unchanged(out, step=step, width=width)
    names = {path: Path(os.path.relpath(path, out.parent)).as_posix() for path in paths}
    # By path, because a set would lose the order.
    missing = {path: None for path in paths if _is_missing(path, videos.get(names[path]))}
    yield from ((path, None) for path in paths if path not in missing)
    compute = partial(_attempt, step=step, width=width, frames_fps=frames_fps)
    saved = monotonic()
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        each = map(compute, missing) if processes == 1 else pool.map(compute, missing, chunksize=4)
        for path, result in zip(missing, each, strict=True):
            if isinstance(result, str):
                yield path, result
                continue
            videos[names[path]] = asdict(result)
            if monotonic() - saved > SAVE_EVERY:
                _save(out, videos, step=step, width=width)
                saved = monotonic()
            yield path, None
    _save(out, videos, step=step, width=width)


def _attempt(path: Path, *, step: int, width: int, frames_fps: float) -> FlowStatistics | str:
    """The statistics of a video, or the reason why it cannot be read."""
    try:
        return flow_statistics(path, step=step, width=width, frames_fps=frames_fps)
    except BadVideoError as error:
        return error.reason


def _unchanged(out: Path, *, step: int, width: int) -> dict[str, Any]:
    """The videos in a file that exists; none if it does not."""
    if not out.exists():
        return {}
    content = read_mapping(out)
    settings = {"step": step, "width": width}
    if not isinstance(content.get("videos"), dict) or {name: content.get(name) for name in settings} != settings:
        raise UserError(
            f"out={out}: this file has not the flow of step={step} width={width}. Use another file, or delete this one."
        )
    return content["videos"]


def _is_missing(path: Path, video: Any) -> bool:
    stamp = stamp_of(Clip(str(path), path))
    return stamp is None or not isinstance(video, dict) or video.get("stamp") != list(stamp)


def _save(out: Path, videos: Mapping[str, Any], *, step: int, width: int) -> None:
    write_text(out, json.dumps({"step": step, "width": width, "videos": dict(videos)}))
