"""Which packets of a long file a clip needs, so that the others are not read."""

from bisect import bisect_right, insort
from dataclasses import dataclass

import av
from av.container import InputContainer
from av.video.stream import VideoStream

# Containers whose index leads to key frames exactly.
SEEKABLE = frozenset({"mov", "mp4", "matroska", "webm"})
# A file is read whole where leaving out the rest would save less: looking for a part has a price, too.
WORTH = 20.0  # seconds of video
# Containers round timestamps, Matroska to whole milliseconds.
SLACK = 2e-3
# How far a key frame that is decoded in time may still be shown too late, in seconds.
STEPS_BACK = (0.0, 1.0, 4.0, 16.0)
# Frames that may come before one that is shown earlier (H.264 and HEVC allow for 16).
REORDERED = 16


@dataclass(frozen=True)
class Part:
    """A part of a file in time.

    Attributes:
        start: seconds in the file.
        end: seconds in the file; None is the file's end.
        frames: of the frames from `start` on so many are enough; None takes all.
        seconds: from `start`, or the first frame after it, so many are enough; None takes all.
    """

    start: float = 0.0
    end: float | None = None
    frames: int | None = None
    seconds: float | None = None

    def is_worth_it(self, duration: float, rate: float) -> bool:
        """Whether leaving out the rest saves much, of a file of `duration` seconds, about `rate` frames a second."""
        lengths = [] if self.seconds is None else [self.seconds]
        lengths += [] if self.frames is None else [self.frames / rate]
        ends = [duration, *(self.start + length for length in lengths), *([] if self.end is None else [self.end])]
        return self.start + duration - min(ends) > WORTH


class Enough:
    """Told of one packet after the other in the order of the file, it knows when a part and a frame after it have come.

    Args:
        part: the part.
    """

    def __init__(self, part: Part) -> None:
        self._part = part
        self._shown: list[float] = []

    def add(self, shown: float) -> bool:
        """Take the time (seconds) of a frame that is shown; True once no frame of the part is still to come."""
        if shown >= self._part.start - SLACK:
            insort(self._shown, shown)
        after = self._after()
        return after is not None and len(self._shown) - after > REORDERED

    def _after(self) -> int | None:
        """The place of the first frame after the part among those that have come from its start on."""
        if not self._shown:
            return None
        ends = [] if self._part.end is None else [self._part.end]
        if self._part.seconds is not None:
            ends.append(max(self._part.start, self._shown[0]) + self._part.seconds)
        places = [] if self._part.frames is None else [self._part.frames]
        if ends:
            places.append(bisect_right(self._shown, min(ends) + SLACK))
        return min(places, default=None)


def worthwhile(part: Part | None, container: InputContainer, stream: VideoStream) -> Part | None:
    """The part, where looking for it saves much and it can be found exactly; else None."""
    if part is None or not container.duration or SEEKABLE.isdisjoint(container.format.name.split(",")):
        return None
    duration, rate = container.duration / av.time_base, float(stream.average_rate or 24)
    return part if part.is_worth_it(duration, rate) else None


def key_before(container: InputContainer, stream: VideoStream, start: float) -> int | None:
    """The time to seek to for a key frame that is shown at `start` seconds or before; None is the file's beginning.

    An index says when frames are decoded, which may be earlier.
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
