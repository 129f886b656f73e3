"""From a list of clips to the frames that a tokeniser wants of each."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset

from vtok.data.clip import Clip
from vtok.data.frames import BadVideoError
from vtok.data.report import list_bad
from vtok.data.sampler import SampleKey
from vtok.data.stable import stable_hash
from vtok.data.video import nearest, open_video
from vtok.errors import UserError
from vtok.plan import FramePlan, TargetPlan

# Broken clips in a row after which a data set counts as broken as a whole.
MAX_ATTEMPTS = 100

# Containers round timestamps, Matroska to whole milliseconds.
TOLERANCE = 1e-3


class Planner(Protocol):
    """Says which frames of a clip are needed."""

    def plan(self, num_frames: int, key_frame: int | None = None) -> FramePlan:
        """The plan for a clip of `num_frames` frames."""
        ...


@dataclass(frozen=True)
class ClipSample:
    """The planned frames of one clip.

    Attributes:
        frames: uint8 (K, 3, size, size).
        timestamps: seconds from the clip's first frame on, float32 (K,).
        key: the key frame's position among the K frames, -1 where it is chosen from their content.
        clip: the clip they are of; with `bad`, the one that took the place of broken ones.
        epoch: the epoch of the sample.
        bad: (path, reason) of the broken clips that were met on the way.
        target: uint8 (F, 3, target.size, target.size), the frames that a decoder is to make; None where not asked for.
    """

    frames: Tensor
    timestamps: Tensor
    key: int
    clip: Clip
    epoch: int
    bad: tuple[tuple[str, str], ...]
    target: Tensor | None = None


class ClipDataset(Dataset[ClipSample]):
    """Clips by `SampleKey`, only the planned frames decoded.

    Args:
        clips: the clips of a split.
        planner: says which frames of a clip of T frames are needed.
        num_frames: T at most; a shorter clip has fewer.
        fps: clip frames a second, each the nearest frame of the file; None takes the frames of the file as they are.
        size: pixels a side of the square frames.
        frames_fps: frames a second of clips that are folders of images.
        seed: of the run; decides which clip replaces a broken one.
        replace_bad: take another clip for a broken one, the same in every run whatever the number of workers; False
            raises `BadVideoError`.
        target: the frames that a decoder is to make of the same clip; None where there is none.
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        planner: Planner,
        *,
        num_frames: int,
        fps: float | None,
        size: int,
        frames_fps: float,
        seed: int,
        replace_bad: bool,
        target: TargetPlan | None = None,
    ) -> None:
        self.clips = list(clips)
        self.planner = planner
        self.num_frames = num_frames
        self.fps = fps
        self.size = size
        self.frames_fps = frames_fps
        self.seed = seed
        self.replace_bad = replace_bad
        self.target = target
        # Only what a worker knows already: a broken clip is broken for every worker, so the order stays the same.
        self._broken: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, key: SampleKey) -> ClipSample:
        bad: dict[str, str] = {}
        for attempt in range(min(len(self.clips), MAX_ATTEMPTS)):
            index = self._candidate(key, attempt)
            try:
                return self._read(index, key.epoch, tuple(bad.items()))
            except BadVideoError as error:
                if not self.replace_bad:
                    raise
                self._broken[index] = error.reason
                bad[error.path] = error.reason
        scope = (
            f"all {len(self.clips)}"
            if len(self.clips) <= MAX_ATTEMPTS
            else f"{MAX_ATTEMPTS} in a row of {len(self.clips)}"
        )
        raise UserError(f"{scope} clips are broken, none can take their place:\n{list_bad(bad)}")

    def _candidate(self, key: SampleKey, attempt: int) -> int:
        """A walk from the wanted clip on, its step prime to the number of clips, so that it meets each once."""
        if attempt == 0:
            return key.index
        count = len(self.clips)
        step = stable_hash("replacement", self.seed, key.epoch, key.index) % count
        while math.gcd(step, count) != 1:
            step += 1
        return (key.index + attempt * step) % count

    def _read(self, index: int, epoch: int, bad: tuple[tuple[str, str], ...]) -> ClipSample:
        clip = self.clips[index]
        if index in self._broken:
            raise BadVideoError(clip.path, self._broken[index])
        with open_video(clip.path, frames_fps=self.frames_fps) as video:
            times = video.timestamps
            native = clip_frames(times, clip, num_frames=self.num_frames, fps=self.fps)
            cut = video.missing > 0 and (clip.end is None or clip.end > times[-1] + TOLERANCE)
            if cut and len(native) < self.num_frames:
                raise BadVideoError(
                    clip.path, f"it is truncated: {video.missing:.2g} s are missing after {times[-1]:.2f} s"
                )
            try:
                plan = self.planner.plan(len(native))
            except UserError as error:
                raise BadVideoError(clip.path, str(error).rstrip(".")) from error
            aims = () if self.target is None else self.target.indices(len(native))
            # Decoded once, in the larger of the two sizes.
            both = sorted({*plan.indices, *aims})
            read = video.read(native[both].tolist(), max(self.size, self.target.size if self.target else 0))
        place = {index: number for number, index in enumerate(both)}
        frames = scaled(read[[place[index] for index in plan.indices]], self.size)
        target = None if self.target is None else scaled(read[[place[index] for index in aims]], self.target.size)
        timestamps = torch.from_numpy(times[native[list(plan.indices)]] - times[native[0]]).float()
        return ClipSample(frames, timestamps, -1 if plan.key is None else plan.key, clip, epoch, bad, target)


def scaled(frames: Tensor, size: int) -> Tensor:
    """Square uint8 frames (N, 3, H, H) to (N, 3, size, size), size at most H."""
    if frames.shape[-1] == size:
        return frames
    smaller = F.interpolate(frames.float(), (size, size), mode="bilinear", antialias=True, align_corners=False)
    return smaller.round().clamp(0, 255).to(torch.uint8)


def clip_frames(timestamps: np.ndarray, clip: Clip, *, num_frames: int, fps: float | None) -> np.ndarray:
    """Which frames of a file are the clip's frames, int64 (T,), T at most `num_frames`.

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
        return np.arange(first, min(last, first + num_frames))
    # A file may begin later than at 0.
    start = max(clip.start, timestamps[0])
    stop = timestamps[last - 1] + (np.median(np.diff(timestamps)) if len(timestamps) > 1 else 1 / fps)
    seconds = (stop if clip.end is None else min(stop, clip.end)) - start
    count = min(num_frames, max(1, math.ceil((seconds - TOLERANCE) * fps)))
    return np.clip(nearest(timestamps, start + np.arange(count) / fps), first, last - 1)
