"""Reads the frames that a picture of a clip's tokens shows."""

from dataclasses import dataclass

import numpy as np
import torch
from omegaconf import DictConfig

from vtok.data import Clip, ClipSample
from vtok.data.plan import FramePlan
from vtok.evaluation.token_groups import token_groups
from vtok.evaluation.token_picture import ClipPicture
from vtok.inference.clip import read_clip
from vtok.model.batch import stack_frames
from vtok.tokeniser import Tokeniser


@dataclass(frozen=True)
class SameFrames:
    """Plans the clip frames `indices`."""

    indices: tuple[int, ...]

    def plan(self, num_frames: int, key_frame: int | None = None) -> FramePlan:
        return FramePlan(self.indices, 0)


def picture_of(
    config: DictConfig,
    tokeniser: Tokeniser,
    video: str | Clip,
    sample: ClipSample,
    times: np.ndarray,
    *,
    frame_size: int,
    start: float = 0.0,
) -> ClipPicture:
    """What a picture of the tokens of a clip shows; see `vtok.inference.clip.read_clip`, which read `sample`.

    Args:
        config: configuration of the run, or of a tokeniser alone.
        tokeniser: tokeniser in evaluation mode.
        video: video file or folder of frames, or a clip of the run's data.
        sample: the planned frames of the clip.
        times: times in the file of the clip's T frames, in seconds (T,).
        frame_size: side in pixels of the frames in the picture, which are read once more.
        start: start of the clip in a file in seconds, >= 0.

    Raises:
        UserError: if the video cannot be read.
    """
    device = next((parameter.device for parameter in tokeniser.parameters()), torch.device("cpu"))
    planned = stack_frames([sample]).to(device)
    with torch.no_grad():
        groups, token_map = token_groups(tokeniser, planned), tokeniser.token_map(planned)
    frames = read_clip(config, SameFrames(sample.indices), video, start=start, size=frame_size)[0].frames
    assert frames is not None
    return ClipPicture(
        frames=frames,
        read=sample.timestamps.tolist(),
        clip=(times - times[0]).tolist(),
        groups=groups,
        token_map=None if token_map is None else token_map[0].cpu(),
    )
