"""Reads a clip from a file of the user's, like the clips of a run."""

from dataclasses import replace

import numpy as np
from omegaconf import DictConfig

from vtok.common.errors import UserError
from vtok.common.paths import user_path
from vtok.data import Clip, ClipSample, DataSource, SampleKey, open_video
from vtok.data.clip_reader import Planner, clip_frames
from vtok.data.plan import TargetPlan
from vtok.data.video.read import open_clip
from vtok.model.build import build


def read_clip(
    config: DictConfig,
    planner: Planner,
    video: str | Clip,
    *,
    start: float = 0.0,
    target: TargetPlan | None = None,
    spread: bool = False,
    size: int | None = None,
) -> tuple[ClipSample, np.ndarray]:
    """Read the clip that starts `start` seconds into a video file or a folder of frames, or a clip of the run's data.

    Args:
        config: configuration of the run.
        planner: planner of the frames to read, such as that of the run's tokeniser.
        video: video file or folder of frames, or a clip of the run's data, which has a start of its own.
        start: start of the clip in a file in seconds, >= 0.
        target: plan of the frames that a decoder reconstructs; None: they are not read.
        spread: whether the clip's T frames are spread evenly over the rest of the video instead of being read at the
            run's frame rate; a video with fewer frames gives all of them.
        size: side of the frames in pixels; None: that of the run.

    Returns:
        The planned and target frames, and the times in the file of all T frames, float64 seconds (T,).

    Raises:
        UserError: if the video cannot be read, or has no frame at `start`.
    """
    if not start >= 0:
        raise UserError(f"start={start:g}: must be a number of seconds >= 0. Use start=0 for the start of the video.")
    clip = Clip(id=video, path=user_path(video), start=start) if isinstance(video, str) else video
    source: DataSource = build(config.data)
    source = source.source_of(clip)
    if size is not None:
        source.clip = replace(source.clip, size=size)
    if spread:
        source.clip = replace(source.clip, fps=fps_to_span(clip, source))
    sample = source.frame_reader(planner, target).read(clip, SampleKey(0, 0))
    with open_clip(clip, frames_fps=source.frames_fps) as file:
        shown = clip_frames(file.timestamps, clip, num_frames=source.clip.num_frames, fps=source.clip.fps)
        return sample, file.timestamps[shown]


def fps_to_span(clip: Clip, source: DataSource) -> float | None:
    """The frame rate at which T frames span the rest of a clip's file; None if it has no more than T frames."""
    with open_video(clip.path, frames_fps=source.frames_fps) as file:
        every = file.timestamps[clip_frames(file.timestamps, clip, num_frames=None, fps=None)]
    if len(every) <= source.clip.num_frames:
        return None
    seconds = duration(every)
    assert seconds is not None
    return source.clip.num_frames / seconds


def duration(seconds: np.ndarray) -> float | None:
    """How long the frames at times `seconds` (T,) last together; None for a single frame."""
    reach = float(seconds[-1] - seconds[0])
    return reach * len(seconds) / (len(seconds) - 1) if reach > 0 else None
