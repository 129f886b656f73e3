"""Reads every picture that some tokenisers need of a clip and of its versions, each once, for a feature cache."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vtok.common.errors import UserError
from vtok.data.cache_blocks import TARGET, Picture, pictures_of, target_name
from vtok.data.clip import Clip
from vtok.data.clip_reader import Planner, clip_frames, part_for, pictures, truncation
from vtok.data.clip_settings import ClipSettings
from vtok.data.plan import TargetPlan
from vtok.data.playback import AS_FILMED, Shown
from vtok.data.video.common import BadVideoError
from vtok.data.video.image_folder import FrameFolder
from vtok.data.video.read import open_clip
from vtok.data.video.video_file import VideoFile


@dataclass(frozen=True)
class Footage:
    """A range of a file, which one clip or several versions of it show.

    Attributes:
        clips: the versions; all have the same file, start and end.
        frames_fps: frames a second of clips that are folders of images.
        frames: number of frames of the clip, if something of it is cached already.
        pictures: pictures that are cached already.
        targets: target tensors that are cached already, see `target_name`.
    """

    clips: tuple[Clip, ...]
    frames_fps: float
    frames: int | None = None
    pictures: frozenset[Picture] = frozenset()
    targets: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Wanted:
    """The pictures and targets of a footage that are missing from the cache.

    Attributes:
        frames: number T of frames of the clip.
        pictures: pictures to encode, in the order of their decoding.
        targets: versions whose target is to be cached.
    """

    frames: int
    pictures: tuple[Picture, ...]
    targets: tuple[Clip, ...]


@dataclass(frozen=True)
class FootageSample:
    """The pixels of what is wanted.

    Attributes:
        seconds: float32 (T,), time of each frame of the clip since its first.
        wanted: what was wanted.
        pixels: uint8 (n, 3, size, size), the pictures.
        targets: target frames of the decoder, uint8 (F, 3, target.size, target.size), by `target_name`.
    """

    seconds: Tensor
    wanted: Wanted
    pixels: Tensor
    targets: dict[str, Tensor]


@dataclass(frozen=True)
class FootageReader:
    """Decodes the union of the frames that several planners need, without augmentation.

    Attributes:
        planners: planners of the tokenisers that will use the cache. One that refuses a clip needs no frames of it.
        settings: settings of the clip.
        target: plan of the decoder's target frames; None: no decoder.
    """

    planners: Sequence[Planner]
    settings: ClipSettings
    target: TargetPlan | None = None

    def scan(self, footage: Footage) -> Wanted:
        """What would be read; no frame is decoded, and a file of which something is cached is not opened.

        Raises:
            BadVideoError: the clip cannot be read.
        """
        if footage.frames is not None:
            return self._wanted(footage, footage.frames)
        with self._opened(footage) as (_, native):
            return self._wanted(footage, len(native))

    def read(self, footage: Footage) -> FootageSample:
        """What is wanted of a footage.

        Raises:
            BadVideoError: the clip cannot be read.
        """
        with self._opened(footage) as (video, native):
            wanted = self._wanted(footage, len(native))
            seconds = torch.from_numpy(video.timestamps[native] - video.timestamps[native[0]]).float()
            # Frames are decoded in the larger size of pictures and targets, as `FrameReader` does.
            size = max(self.settings.size, self.target.size if self.target else 0)
            pixels: list[Tensor] = []
            targets: dict[str, Tensor] = {}
            for zoom in sorted({one.zoom for one in wanted.pictures} | {_zoom(clip) for clip in wanted.targets}):
                few = [one for one in wanted.pictures if one.zoom == zoom]
                versions = {
                    target_name(TARGET, clip): self._target_pictures(clip, len(native))
                    for clip in wanted.targets
                    if _zoom(clip) == zoom
                }
                frames = sorted({one.frame for one in few} | {one.frame for each in versions.values() for one in each})
                read = video.read(native[frames].tolist(), round(size * zoom))
                place = {frame: number for number, frame in enumerate(frames)}
                if few:
                    pixels.append(pictures(read, _shown(few), place, size=self.settings.size))
                for name, several in versions.items():
                    assert self.target is not None
                    targets[name] = pictures(read, _shown(several), place, size=self.target.size)
        size = self.settings.size
        return FootageSample(seconds, wanted, torch.cat([torch.empty(0, 3, size, size).byte(), *pixels]), targets)

    @contextmanager
    def _opened(self, footage: Footage) -> Iterator[tuple[VideoFile | FrameFolder, np.ndarray]]:
        """The open file and the numbers of the clip's frames in it, as `FrameReader` finds them."""
        clip, settings = footage.clips[0], self.settings
        part = part_for(clip, num_frames=settings.num_frames, fps=settings.fps)
        with open_clip(clip, frames_fps=footage.frames_fps, timeout=settings.decode_timeout, part=part) as video:
            native = clip_frames(video.timestamps, clip, num_frames=settings.num_frames, fps=settings.fps)
            if len(native) < settings.num_frames and (cut := truncation(video, clip)) is not None:
                raise BadVideoError(clip.path, cut)
            yield video, native

    def _wanted(self, footage: Footage, num_frames: int) -> Wanted:
        plans = []
        for planner in self.planners:
            try:
                plans.append(planner.plan(num_frames).indices)
            except UserError:
                continue
        found = {
            picture
            for clip in footage.clips
            for indices in dict.fromkeys(plans)
            for picture in pictures_of(clip, indices, num_frames)
        }
        missing = sorted(found - footage.pictures, key=lambda one: (one.zoom, one.frame, one.window or ()))
        versions = {target_name(TARGET, clip): clip for clip in footage.clips} if self.target is not None else {}
        cached = {name.partition("/")[2] for name in footage.targets}
        return Wanted(
            frames=num_frames,
            pictures=tuple(missing),
            targets=tuple(clip for name, clip in versions.items() if name.partition("/")[2] not in cached),
        )

    def _target_pictures(self, clip: Clip, num_frames: int) -> list[Picture]:
        return [] if self.target is None else pictures_of(clip, self.target.indices(num_frames), num_frames)


def _zoom(clip: Clip) -> float:
    return (AS_FILMED if clip.playback is None else clip.playback).zoom


def _shown(several: Sequence[Picture]) -> list[Shown]:
    return [Shown(one.frame, one.window) for one in several]
