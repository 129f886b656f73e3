"""A clip out of a file that the user names, read as the clips of a run are."""

from dataclasses import replace

import numpy as np
from omegaconf import DictConfig

from vtok.common.errors import UserError
from vtok.common.paths import user_path
from vtok.data import Clip, ClipSample, DataSource, SampleKey, open_video
from vtok.data.clip_reader import clip_frames
from vtok.data.plan import StridePlanner, TargetPlan
from vtok.model.build import build


def read_clip(
    config: DictConfig,
    planner: StridePlanner,
    video: str,
    *,
    start: float,
    target: TargetPlan | None = None,
    whole: bool = False,
) -> tuple[ClipSample, np.ndarray]:
    """The clip that begins `start` seconds into a video file or a folder of frames.

    With `whole` the clip's T frames are spread evenly over all that comes from there on; of a video that has fewer they
    are all of its frames.

    Returns:
        Its planned frames, with those that a decoder is to make where there is a `target`, and the seconds in the file
        at which its T frames are shown, float64 (T,).

    Raises:
        UserError: the video cannot be read, or has no frame there.
    """
    if not start >= 0:
        raise UserError(f"start={start:g}: allowed are seconds, 0 or more.")
    clip = Clip(id=video, path=user_path(video), start=start)
    source: DataSource = build(config.data)
    source = source.part_of(clip)
    if whole:
        source.clip = replace(source.clip, fps=rate_over(clip, source))
    sample = source.frame_reader(planner, target).read(clip, SampleKey(0, 0))
    with open_video(clip.path, frames_fps=source.frames_fps) as file:
        shown = clip_frames(file.timestamps, clip, num_frames=source.clip.num_frames, fps=source.clip.fps)
        return sample, file.timestamps[shown]


def rate_over(clip: Clip, source: DataSource) -> float | None:
    """The frames a second at which T frames reach to the end of a clip's file; None where it has no more than T."""
    with open_video(clip.path, frames_fps=source.frames_fps) as file:
        every = file.timestamps[clip_frames(file.timestamps, clip, num_frames=None, fps=None)]
    if len(every) <= source.clip.num_frames:
        return None
    seconds = length(every)
    assert seconds is not None
    return source.clip.num_frames / seconds


def length(seconds: np.ndarray) -> float | None:
    """How long frames that are shown at `seconds` (T,) last in all; None of a single one, which does not say."""
    reach = float(seconds[-1] - seconds[0])
    return reach * len(seconds) / (len(seconds) - 1) if reach > 0 else None
