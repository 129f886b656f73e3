"""From one clip to the frames that a tokeniser and a decoder want of it."""

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from vtok.common.errors import UserError
from vtok.common.hashing import stable_hash
from vtok.data.augmentation import Augmentation
from vtok.data.clip import Clip
from vtok.data.clip_settings import ClipSettings
from vtok.data.plan import FramePlan, TargetPlan
from vtok.data.sampler import SampleKey
from vtok.data.video.common import BadVideoError
from vtok.data.video.image_folder import FrameFolder
from vtok.data.video.motion_vectors import motion_fields
from vtok.data.video.packet_range import Part
from vtok.data.video.read import nearest, open_clip
from vtok.data.video.video_file import VideoFile

# Containers round timestamps, Matroska to whole milliseconds.
TOLERANCE = 1e-3


class Planner(Protocol):
    """Says which frames of a clip are needed."""

    def plan(self, num_frames: int, key_frame: int | None = None) -> FramePlan:
        """The plan for a clip of `num_frames` frames."""
        ...


@dataclass(frozen=True)
class ClipSample:
    """The planned frames of one clip, or what was made of them once.

    Attributes:
        frames: uint8 (K, 3, size, size); None where `pooled` stands in their place.
        timestamps: seconds from the clip's first frame on, float32 (K,).
        key: the key frame's position among the K frames, -1 where it is chosen from their content or has been.
        clip: the clip they are of; with `bad`, the one that took the place of broken ones.
        epoch: the epoch of the sample.
        bad: (path, reason) of the broken clips that were met on the way.
        target: uint8 (F, 3, target.size, target.size), the frames that a decoder is to make; None where not asked for.
        pooled: what a tokeniser's `extract` made of the frames, by name, without a dimension of the batch.
        latents: float32 (C, f, h, w), what a decoder's VAE made of the frames in `target`.
        vectors: float32 (K, 3, g, g), see `motion_fields`; None where the plan asks for none.
    """

    frames: Tensor | None
    timestamps: Tensor
    key: int
    clip: Clip
    epoch: int
    bad: tuple[tuple[str, str], ...] = ()
    target: Tensor | None = None
    pooled: dict[str, Tensor] | None = None
    latents: Tensor | None = None
    vectors: Tensor | None = None

    @property
    def num_planned(self) -> int:
        """Planned frames K of the clip."""
        return len(self.timestamps)


class ClipReader(Protocol):
    """How a sample is made of a clip; picklable, for it goes to the processes that decode."""

    def read(self, clip: Clip, key: SampleKey) -> ClipSample:
        """The sample; what is random in it follows from `key`.

        Raises:
            BadVideoError: the clip cannot be read.
        """
        ...


@dataclass(frozen=True)
class FrameReader:
    """Decodes the planned frames of a clip, and those that a decoder is to make.

    Attributes:
        planner: says which frames of a clip of T frames are needed.
        settings: how a clip is read; of a clip that is shorter than T = `num_frames` all frames are taken.
        frames_fps: frames a second of clips that are folders of images.
        target: the frames that a decoder is to make of the same clip; None where there is none.
        augmentation: how clips are changed; None leaves them as they are.
        seed: of the run, which with epoch and place of a clip decides what is random.
    """

    planner: Planner
    settings: ClipSettings
    frames_fps: float = 24.0
    target: TargetPlan | None = None
    augmentation: Augmentation | None = None
    seed: int = 0

    def read(self, clip: Clip, key: SampleKey) -> ClipSample:
        augmentation = Augmentation() if self.augmentation is None else self.augmentation
        rng = np.random.default_rng(stable_hash("augmentation", self.seed, key.epoch, key.index))
        view = augmentation.view(clip, rng)
        fps, num_frames = self.settings.fps, self.settings.num_frames
        most = None if augmentation.random_start else num_frames
        part = part_of(clip, num_frames=most, fps=fps)
        with open_clip(clip, frames_fps=self.frames_fps, timeout=self.settings.decode_timeout, part=part) as video:
            times = video.timestamps
            native = augmentation.part(clip_frames(times, clip, num_frames=most, fps=fps), num_frames, rng)
            if len(native) < num_frames and (cut := cut_off(video, clip)) is not None:
                raise BadVideoError(clip.path, cut)
            try:
                plan = self.planner.plan(len(native))
            except UserError as error:
                raise BadVideoError(clip.path, str(error).rstrip(".")) from error
            aims = () if self.target is None else self.target.indices(len(native))
            # Decoded once, in the larger of the two sizes.
            both = sorted({*plan.indices, *aims})
            size = max(self.settings.size, self.target.size if self.target else 0)
            zoomed = round(size * augmentation.zoom)
            read = view.of(video.read(native[both].tolist(), zoomed))
            vectors = None
            if plan.vector_grid is not None:
                planned = native[list(plan.indices)].tolist()
                vectors = motion_fields(video, planned, grid=plan.vector_grid, size=zoomed, view=view)
        place = {index: number for number, index in enumerate(both)}
        frames = scaled(read[[place[index] for index in plan.indices]], self.settings.size)
        target = None if self.target is None else scaled(read[[place[index] for index in aims]], self.target.size)
        timestamps = torch.from_numpy(times[native[list(plan.indices)]] - times[native[0]]).float()
        place_of_key = -1 if plan.key is None else plan.key
        return ClipSample(frames, timestamps, place_of_key, clip, key.epoch, target=target, vectors=vectors)


def part_of(clip: Clip, *, num_frames: int | None, fps: float | None) -> Part:
    """What of a file `clip_frames` looks at."""
    if fps is None or num_frames is None:
        return Part(clip.start, clip.end, frames=num_frames)
    return Part(clip.start, clip.end, seconds=num_frames / fps)


def cut_off(video: VideoFile | FrameFolder, clip: Clip) -> str | None:
    """Why a clip is not whole, where its file was cut off within it; else None."""
    last = video.timestamps[-1]
    if video.missing > 0 and (clip.end is None or clip.end > last + TOLERANCE):
        return f"it is truncated: {video.missing:.2g} s are missing after {last:.2f} s"
    return None


def scaled(frames: Tensor, size: int) -> Tensor:
    """Uint8 frames (N, 3, H, W) to (N, 3, size, size)."""
    if frames.shape[-2:] == (size, size):
        return frames
    smaller = F.interpolate(frames.float(), (size, size), mode="bilinear", antialias=True, align_corners=False)
    return smaller.round().clamp(0, 255).to(torch.uint8)


def clip_frames(timestamps: np.ndarray, clip: Clip, *, num_frames: int | None, fps: float | None) -> np.ndarray:
    """Which frames of a file are the clip's frames, int64 (T,), T at most `num_frames`, if that is given.

    They are frames from `clip.start` on that are shown before `clip.end`. With `fps` they are those nearest to
    start + i / fps, as many as the clip lasts, so that files of different rates give the same clip.

    Raises:
        BadVideoError: the file has no frame in that range.
    """
    first = int(np.searchsorted(timestamps, clip.start - TOLERANCE))
    last = len(timestamps) if clip.end is None else int(np.searchsorted(timestamps, clip.end - TOLERANCE))
    if first >= last:
        reach = f"{clip.start:g} s" if clip.end is None else f"{clip.start:g} to {clip.end:g} s"
        raise BadVideoError(
            clip.path, f"no frame lies in the clip ({reach}), the last frame is at {timestamps[-1]:.2f} s"
        )
    if fps is None:
        return np.arange(first, last)[:num_frames]
    # A file may begin later than at 0.
    start = max(clip.start, timestamps[0])
    stop = timestamps[last - 1] + (np.median(np.diff(timestamps[first:last])) if last - first > 1 else 1 / fps)
    seconds = (stop if clip.end is None else min(stop, clip.end)) - start
    count = max(1, math.ceil((seconds - TOLERANCE) * fps))
    count = count if num_frames is None else min(num_frames, count)
    return np.clip(nearest(timestamps, start + np.arange(count) / fps), first, last - 1)
