"""Reads the frames of a clip that a tokeniser and a decoder need."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from vtok.common.errors import UserError
from vtok.common.hashing import stable_hash
from vtok.data.augmentation import Augmentation
from vtok.data.change import frame_changes, kept_frames
from vtok.data.clip import Clip
from vtok.data.clip_settings import ClipSettings
from vtok.data.frame_maps import FrameMaps
from vtok.data.plan import FramePlan, TargetPlan
from vtok.data.playback import Playback, Shown
from vtok.data.sampler import SampleKey
from vtok.data.video.common import BadVideoError
from vtok.data.video.image_folder import FrameFolder
from vtok.data.video.motion_vectors import motion_fields
from vtok.data.video.packet_range import Part
from vtok.data.video.read import nearest, open_clip
from vtok.data.video.video_file import VideoFile

# Containers round timestamps: Matroska to milliseconds.
TOLERANCE = 1e-3


class Planner(Protocol):
    """Plans which frames of a clip are needed."""

    def plan(self, num_frames: int, key_frame: int | None = None) -> FramePlan:
        """The plan for a clip of `num_frames` frames."""
        ...


@dataclass(frozen=True)
class ClipSample:
    """The planned frames of a clip, their feature maps from a cache, or what a tokeniser has extracted of them.

    Attributes:
        frames: uint8 (K, 3, size, size); None if `maps` or `pooled` are given instead.
        timestamps: float32 (K,), seconds since the clip's first frame.
        key: position of the key frame among the K frames; -1 if it is chosen from their content.
        clip: clip of the frames; if clips were broken, their replacement.
        epoch: epoch of the sample.
        bad: (label, reason) of the broken clips that this one replaces.
        target: uint8 (F, 3, target.size, target.size), frames that the decoder learns from; None: no decoder.
        maps: feature maps of the frames, from a cache; None if there is none.
        target_maps: feature maps of `target`, from a cache; None if they are not needed.
        pooled: output of the tokeniser's `extract` by name, without the batch dimension; None: not extracted yet.
        latents: float32 (C, f, h, w), VAE latents of `target`; None if they are not cached.
        vectors: float32 (K, 3, g, g), see `motion_fields`; None if the plan asks for none.
        indices: clip-frame numbers of the K frames; empty if `pooled` is given.
    """

    frames: Tensor | None
    timestamps: Tensor
    key: int
    clip: Clip
    epoch: int
    bad: tuple[tuple[str, str], ...] = ()
    target: Tensor | None = None
    maps: FrameMaps | None = None
    target_maps: FrameMaps | None = None
    pooled: dict[str, Tensor] | None = None
    latents: Tensor | None = None
    vectors: Tensor | None = None
    indices: tuple[int, ...] = ()

    @property
    def num_planned(self) -> int:
        """Number K of planned frames."""
        return len(self.timestamps)

    @property
    def num_bytes(self) -> int:
        """Number of bytes of all tensors."""
        maps = [each for part in (self.maps, self.target_maps) if part is not None for each in vars(part).values()]
        pooled = [] if self.pooled is None else self.pooled.values()
        tensors = (self.frames, self.timestamps, self.target, self.latents, self.vectors, *maps, *pooled)
        return sum(one.nbytes for one in tensors if one is not None)

    @property
    def interval(self) -> float:
        """Mean number of seconds between two frames of the clip; 0 if no frame after the first one is known."""
        last = self.indices[-1] if self.indices else 0
        return float(self.timestamps[-1]) / last if last else 0.0

    def at(self, positions: Sequence[int]) -> "ClipSample":
        """The sample with the frames at `positions` alone, or their maps; the key frame is one of them."""
        chosen = list(positions)
        return replace(
            self,
            frames=None if self.frames is None else self.frames[chosen],
            maps=None if self.maps is None else self.maps.at(torch.tensor(chosen)),
            timestamps=self.timestamps[chosen],
            key=self.key if self.key < 0 else chosen.index(self.key),
            vectors=None if self.vectors is None else self.vectors[chosen],
            indices=tuple(self.indices[one] for one in chosen),
        )


class ClipReader(Protocol):
    """Reads samples; picklable, because it is sent to the processes that decode."""

    def read(self, clip: Clip, key: SampleKey) -> ClipSample:
        """The sample of a clip; its random numbers depend on `key` alone.

        Raises:
            BadVideoError: the clip cannot be read.
        """
        ...


@dataclass(frozen=True)
class FrameReader:
    """Decodes the planned frames of a clip, and the target frames of a decoder.

    Attributes:
        planner: planner of the frames to decode.
        settings: settings of the clip; a clip shorter than `num_frames` has fewer frames.
        frames_fps: frames a second of clips that are folders of images.
        target: plan of the decoder's target frames; None: no decoder.
        augmentation: random changes to clips; None: no changes.
        seed: random seed of the run; random numbers depend on it and on a clip's epoch and index.
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
        part = part_for(clip, num_frames=most, fps=fps)
        with open_clip(clip, frames_fps=self.frames_fps, timeout=self.settings.decode_timeout, part=part) as video:
            times = video.timestamps
            native = augmentation.choose_frames(clip_frames(times, clip, num_frames=most, fps=fps), num_frames, rng)
            if len(native) < num_frames and (cut := truncation(video, clip)) is not None:
                raise BadVideoError(clip.path, cut)
            try:
                plan = self.planner.plan(len(native))
            except UserError as error:
                raise BadVideoError(clip.path, str(error).rstrip(".")) from error
            playback = Playback() if clip.playback is None else clip.playback
            planned = playback.show(plan.indices, len(native))
            wanted = () if self.target is None else playback.show(self.target.indices(len(native)), len(native))
            # Frames in both plans are decoded once, in the larger of the two sizes.
            both = sorted({one.frame for one in (*planned, *wanted)})
            size = max(self.settings.size, self.target.size if self.target else 0)
            zoomed = round(size * augmentation.zoom * playback.zoom)
            read = view.apply(video.read(native[both].tolist(), zoomed))
            vectors = None
            if plan.vector_grid is not None:
                if clip.playback is not None:
                    raise ValueError(f"{clip.path}: the file's motion vectors are not those of {clip.playback}.")
                indices = native[list(plan.indices)].tolist()
                vectors = motion_fields(video, indices, grid=plan.vector_grid, size=zoomed, view=view)
        place = {index: number for number, index in enumerate(both)}
        frames = pictures(read, planned, place, size=self.settings.size)
        target = None
        if self.target is not None:
            target = pictures(read, wanted, place, size=self.target.size)
        timestamps = torch.from_numpy(times[native[list(plan.indices)]] - times[native[0]]).float()
        place_of_key = -1 if plan.key is None else plan.key
        sample = ClipSample(
            frames, timestamps, place_of_key, clip, key.epoch, target=target, vectors=vectors, indices=plan.indices
        )
        return sample if plan.change is None else sample.at(kept_frames(frame_changes(frames), plan.change))


def part_for(clip: Clip, *, num_frames: int | None, fps: float | None) -> Part:
    """The part of a file that `clip_frames` needs."""
    if fps is None or num_frames is None:
        return Part(clip.start, clip.end, frames=num_frames)
    return Part(clip.start, clip.end, seconds=num_frames / fps)


def truncation(video: VideoFile | FrameFolder, clip: Clip) -> str | None:
    """The reason why a clip is incomplete, if its file ends within the clip; else None."""
    last = video.timestamps[-1]
    if video.missing > 0 and (clip.end is None or clip.end > last + TOLERANCE):
        return f"it is truncated: {video.missing:.2g} s are missing after {last:.2f} s"
    return None


def pictures(frames: Tensor, shown: Sequence[Shown], place: Mapping[int, int], *, size: int) -> Tensor:
    """What is shown, uint8 (K, 3, size, size).

    Args:
        frames: uint8 (N, 3, H, W).
        shown: K frame numbers with windows.
        place: position of each frame number in `frames`.
        size: side of the result in pixels.
    """
    if all(one.window is None for one in shown):
        return scaled(frames[[place[one.frame] for one in shown]], size)
    height, width = frames.shape[-2:]
    parts = []
    for frame, window in shown:
        assert window is not None
        rows, columns = (max(1, round(side * window.side)) for side in (height, width))
        top, left = min(round(height * window.top), height - rows), min(round(width * window.left), width - columns)
        parts.append(scaled(frames[place[frame], None, :, top : top + rows, left : left + columns], size))
    return torch.cat(parts)


def scaled(frames: Tensor, size: int) -> Tensor:
    """Scale uint8 frames (N, 3, H, W) to (N, 3, size, size)."""
    if frames.shape[-2:] == (size, size):
        return frames
    smaller = F.interpolate(frames.float(), (size, size), mode="bilinear", antialias=True, align_corners=False)
    return smaller.round().clamp(0, 255).to(torch.uint8)


def clip_frames(timestamps: np.ndarray, clip: Clip, *, num_frames: int | None, fps: float | None) -> np.ndarray:
    """The numbers of a clip's frames in its file, int64 (T,), in presentation order.

    They are the frames from `clip.start` to before `clip.end`. With `fps` they are the frames nearest to
    start + i / fps, so files of different rates give the same clip.

    Args:
        timestamps: seconds of the file's frames, ascending.
        clip: clip with its range of seconds.
        num_frames: largest number of frames T; None: no limit.
        fps: frames a second of the clip; None: all frames of the file.

    Raises:
        BadVideoError: the file has no frame in the range.
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
    # The first frame of a file may be later than 0 s.
    start = max(clip.start, timestamps[0])
    stop = timestamps[last - 1] + (np.median(np.diff(timestamps[first:last])) if last - first > 1 else 1 / fps)
    seconds = (stop if clip.end is None else min(stop, clip.end)) - start
    count = max(1, math.ceil((seconds - TOLERANCE) * fps))
    count = count if num_frames is None else min(num_frames, count)
    return np.clip(nearest(timestamps, start + np.arange(count) / fps), first, last - 1)
