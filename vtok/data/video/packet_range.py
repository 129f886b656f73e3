"""Finds the packets of a long file that a clip needs, so that the others are not read."""

from bisect import bisect_right, insort
from dataclasses import dataclass

import av
from av.container import InputContainer
from av.video.stream import VideoStream

# Containers with an exact index of key frames.
SEEKABLE = frozenset({"mov", "mp4", "matroska", "webm"})
# Seeking has a cost: a file is read completely if skipping would save less video than this.
WORTH = 20.0  # seconds
# Containers round timestamps: Matroska to milliseconds.
SLACK = 2e-3
# Seconds to seek further back: an index gives decoding times, and a key frame may be shown later than it is decoded.
STEPS_BACK = (0.0, 1.0, 4.0, 16.0)
# Frames that may precede, in the file, a frame that is shown before them (16 in H.264 and HEVC).
REORDERED = 16


@dataclass(frozen=True)
class Part:
    """A part of a file in time.

    Attributes:
        start: beginning in seconds in the file.
        end: end in seconds in the file; None: the end of the file.
        frames: largest number of frames that are needed; None: no limit.
        seconds: largest number of seconds that are needed from the first frame; None: no limit.
    """

    start: float = 0.0
    end: float | None = None
    frames: int | None = None
    seconds: float | None = None

    def is_worth_it(self, duration: float, rate: float) -> bool:
        """Whether seeking saves enough in a file of `duration` seconds at about `rate` frames a second."""
        lengths = [] if self.seconds is None else [self.seconds]
        lengths += [] if self.frames is None else [self.frames / rate]
        ends = [duration, *(self.start + length for length in lengths), *([] if self.end is None else [self.end])]
        return self.start + duration - min(ends) > WORTH


class PartTracker:
    """Tracks the packets of a file to find out when all frames of a part have been read.

    Args:
        part: part of the file that is needed.
    """

    def __init__(self, part: Part) -> None:
        self._part = part
        self._shown: list[float] = []

    def add(self, shown: float) -> bool:
        """Add the presentation time in seconds of the next packet's frame; returns whether the part is complete."""
        if shown >= self._part.start - SLACK:
            insort(self._shown, shown)
        after = self._after()
        return after is not None and len(self._shown) - after > REORDERED

    def _after(self) -> int | None:
        """Position of the first frame after the part, among the frames since its start."""
        if not self._shown:
            return None
        ends = [] if self._part.end is None else [self._part.end]
        if self._part.seconds is not None:
            ends.append(max(self._part.start, self._shown[0]) + self._part.seconds)
        places = [] if self._part.frames is None else [self._part.frames]
        if ends:
            places.append(bisect_right(self._shown, min(ends) + SLACK))
        return min(places, default=None)


def seekable_part(part: Part | None, container: InputContainer, stream: VideoStream) -> Part | None:
    """The part if seeking to it is exact and saves enough; else None."""
    if part is None or not container.duration or SEEKABLE.isdisjoint(container.format.name.split(",")):
        return None
    duration, rate = container.duration / av.time_base, float(stream.average_rate or 24)
    return part if part.is_worth_it(duration, rate) else None


def seek_position(container: InputContainer, stream: VideoStream, start: float) -> int | None:
    """The timestamp, in ticks, to seek to for a key frame shown at or before `start` seconds; None: the file's start.

    An index holds decoding times, which may be earlier than presentation times.
    """
    tick = float(stream.time_base or 1)
    latest, first = (start - SLACK) / tick, stream.start_time or 0
    for seconds in STEPS_BACK:
        origin = int(latest - seconds / tick)
        if origin <= first:
            return None
        try:
            container.seek(origin, stream=stream)
            packet = next(container.demux(stream))
        except av.FFmpegError:
            return None
        if packet.is_keyframe and packet.pts is not None and packet.pts <= latest:
            return origin
    return None
