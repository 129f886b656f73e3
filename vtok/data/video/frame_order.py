"""Which frames a video will show and in which order, as far as its packets tell without decoding."""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import inf

import av
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream

# ISO 14496-2, 6.2.5: this code begins a picture (VOP), and the two bits after it are its type.
VOP = b"\x00\x00\x01\xb6"
B_VOP = 2
# Below, FFmpeg takes a packet for the placeholder of a picture that an earlier packet held (MAX_NVOP_SIZE).
LARGEST_PLACEHOLDER = 19  # bytes


@dataclass
class PacketTimes:
    """What the packets of a stream say of its frames without decoding, packet by packet in the order of the file.

    Attributes:
        codec: FFmpeg's name of the stream's codec.
        pts: times of presentation, in ticks.
        dts: times of decoding.
        keys: whether it is a key frame.
        shown: whether its frame is shown, and not only referred to.
        types: in MPEG-4 part 2 the types of its pictures, see `mpeg4_types`; empty for other codecs.
    """

    codec: str
    pts: list[int | None] = field(default_factory=list)
    dts: list[int | None] = field(default_factory=list)
    keys: list[bool] = field(default_factory=list)
    shown: list[bool] = field(default_factory=list)
    types: list[list[int]] = field(default_factory=list)

    def add(self, packet: Packet) -> None:
        """Take the next packet."""
        self.pts.append(packet.pts)
        self.dts.append(packet.dts)
        self.keys.append(packet.is_keyframe)
        self.shown.append(not packet.is_discard and not (self.codec == "vp8" and is_hidden(packet)))
        if self.codec == "mpeg4":
            self.types.append(mpeg4_types(packet))

    def numbers(self) -> dict[int | None, int]:
        """Frame numbers by timestamp, in presentation order; empty where packets cannot say which there will be."""
        return presentation(self.pts, self.keys, self.shown)

    def is_doubtful(self, *, may_reorder: bool) -> bool:
        """Whether the timestamps may be of another order than that in which the frames are shown.

        `may_reorder`: the decoder may return frames in another order than it takes them. Where the timestamps then
        reorder nothing, they may have been made from the order of decoding, as for a container that stores no time of
        presentation (AVI), or in a copy of one.
        """
        if self.codec == "mpeg4":
            return not is_mpeg4_order(self.pts, self.types)
        known = [pts for pts in self.pts if pts is not None]
        return may_reorder and len(known) > 1 and _ascends(known)

    def times_of(self, frames: Sequence[int | None], *, tick: float, rate: float) -> np.ndarray:
        """Seconds at which decoded frames are shown whose timestamps are `frames`, in the decoder's order.

        Timestamps that were made from the order of decoding are those of the frames, in another order. Where some come
        twice or are missing, there is a frame for each time at which a packet is decoded, or else `rate` a second.
        """
        known = [pts for pts in frames if pts is not None]
        for ticks in (known, sorted(known)):
            if len(ticks) == len(frames) and _ascends(ticks):
                return np.array(ticks, dtype=np.float64) * tick
        begin = min(known, default=0) * tick
        slots = [dts for dts in self.dts if dts is not None]
        if len(slots) == len(frames) and _ascends(slots):
            return begin + (np.array(slots, dtype=np.float64) - slots[0]) * tick
        return begin + np.arange(len(frames)) / rate


def _ascends(ticks: Sequence[int]) -> bool:
    return all(before < after for before, after in pairwise(ticks))


def presentation(times: Sequence[int | None], keys: Sequence[bool], shown: Sequence[bool]) -> dict[int | None, int]:
    """Frame numbers by timestamp, in presentation order; empty where packets cannot tell which frames there will be.

    They cannot where timestamps are missing or repeat, and where the first packet is not a key frame or is followed by
    frames shown before it, which only the decoder knows to be whole or not.
    """
    known = [pts for pts in times if pts is not None]
    if len(known) < len(times) or not known or not keys[0] or min(known) < known[0]:
        return {}
    visible = [pts for pts, is_shown in zip(known, shown, strict=True) if is_shown]
    numbers: dict[int | None, int] = {pts: number for number, pts in enumerate(sorted(visible))}
    return numbers if len(numbers) == len(visible) else {}


def mpeg4_types(packet: Packet) -> list[int]:
    """The types of the pictures in a packet of MPEG-4 part 2, without those that are shown as the one before."""
    if packet.size <= LARGEST_PLACEHOLDER:
        return []
    return [coded[0] >> 6 for coded in bytes(packet).split(VOP)[1:] if coded]


def is_mpeg4_order(times: Sequence[int | None], types: Sequence[Sequence[int]]) -> bool:
    """Whether MPEG-4 pictures are shown in the order of their timestamps, a packet holding exactly one of each.

    A B-picture is shown before the I- or P-picture that it follows in the file, all others in the file's order. Packets
    of several or no pictures are made by encoders that pack B-frames (DivX, Xvid), and belong to no single time.
    """
    floor = anchor = -inf
    for pts, in_packet in zip(times, types, strict=True):
        if pts is None or len(in_packet) != 1:
            return False
        if in_packet[0] == B_VOP:
            if not floor < pts < anchor:
                return False
            floor = pts
        else:
            if pts <= anchor:
                return False
            floor, anchor = anchor, pts
    return True


def is_hidden(packet: Packet) -> bool:
    """Whether a VP8 packet is only referred to: the fifth bit says "show this frame" (RFC 6386, 9.1)."""
    return not memoryview(packet)[0] & 0x10


def stretches(times: Sequence[int], starts: Sequence[int], wanted: Container[int | None]) -> list[tuple[int, int]]:
    """Stretches of packets (first, last) to decode: from a key frame on, to the last wanted frame that needs it.

    Args:
        times: the packets' timestamps.
        starts: the numbers of those that are key frames.
        wanted: the timestamps of the wanted frames.
    """
    runs: list[tuple[int, int]] = []
    group = 0
    for number, pts in enumerate(times):
        if group + 1 < len(starts) and starts[group + 1] == number:
            group += 1
        if pts not in wanted:
            continue
        # A frame that is shown before its group's key frame refers to the group before as well (open groups).
        leading = pts < times[starts[group]]
        first = starts[group - 1 if leading else group]
        while runs and runs[-1][1] >= first:
            first = min(first, runs.pop()[0])
        runs.append((first, number))
    return runs


def missing(container: InputContainer, stream: VideoStream, ends: Mapping[int, int], start: float) -> float:
    """Seconds of video that a header promises beyond the `ends` of the packets, by stream; 0 of a complete file.

    `start`: seconds that the container's clock shows at the beginning.
    """
    # Counting frames would not do: what an edit list cuts off is in the header's count and not among the packets.
    end = max((ticks * float(container.streams[i].time_base or 0) for i, ticks in ends.items()), default=start) - start
    if stream.duration:
        promised = stream.duration * float(stream.time_base or 0)
        slack = 1.5 / float(stream.average_rate or 24)
    else:
        # Half a second is left to headers that round and to last packets that do not tell their duration.
        promised, slack = (container.duration or 0) / av.time_base, 0.5
    return promised - end if promised - end > slack else 0.0
