"""Presentation order of frames from packets alone, without decoding."""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import inf

import av
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream

# ISO 14496-2, 6.2.5: start code of a picture (VOP); the next two bits are its type.
VOP = b"\x00\x00\x01\xb6"
B_VOP = 2
# FFmpeg treats packets up to this size as placeholders of a picture in an earlier packet (MAX_NVOP_SIZE).
LARGEST_PLACEHOLDER = 19  # bytes


@dataclass
class PacketTimes:
    """Timestamps and flags of a stream's packets, in the order of the file.

    Attributes:
        codec: FFmpeg's name of the stream's codec.
        pts: presentation timestamps, in ticks.
        dts: decoding timestamps, in ticks.
        keys: whether the packet holds a key frame.
        shown: whether the packet's frame is shown, and not only a reference for others.
        types: picture types of the packet in MPEG-4 part 2, see `mpeg4_types`; empty for other codecs.
    """

    codec: str
    pts: list[int | None] = field(default_factory=list)
    dts: list[int | None] = field(default_factory=list)
    keys: list[bool] = field(default_factory=list)
    shown: list[bool] = field(default_factory=list)
    types: list[list[int]] = field(default_factory=list)

    def add(self, packet: Packet) -> None:
        """Add the next packet."""
        self.pts.append(packet.pts)
        self.dts.append(packet.dts)
        self.keys.append(packet.is_keyframe)
        self.shown.append(not packet.is_discard and not (self.codec == "vp8" and is_hidden(packet)))
        if self.codec == "mpeg4":
            self.types.append(mpeg4_types(packet))

    def numbers(self) -> dict[int | None, int]:
        """Frame numbers by timestamp, see `frame_numbers`."""
        return frame_numbers(self.pts, self.keys, self.shown)

    def is_doubtful(self, *, may_reorder: bool) -> bool:
        """Whether the order of the timestamps may differ from the presentation order.

        If the decoder may reorder frames but the timestamps do not, they may be the order of decoding, as in AVI, which
        stores no presentation times, or in a remuxed AVI.

        Args:
            may_reorder: whether the decoder may return frames in another order than that of its packets.
        """
        if self.codec == "mpeg4":
            return not is_mpeg4_order(self.pts, self.types)
        known = [pts for pts in self.pts if pts is not None]
        return may_reorder and len(known) > 1 and _ascends(known)

    def times_of(self, frames: Sequence[int | None], *, tick: float, rate: float) -> np.ndarray:
        """Presentation times in seconds of decoded frames.

        Timestamps in decoding order are the right ones in the wrong order, and are sorted. If some repeat or are
        missing, the decoding timestamps of the packets are used, or else a constant rate.

        Args:
            frames: timestamps of the frames in ticks, in the decoder's order.
            tick: seconds of a tick.
            rate: frames a second.
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


def frame_numbers(times: Sequence[int | None], keys: Sequence[bool], shown: Sequence[bool]) -> dict[int | None, int]:
    """Frame numbers by timestamp, in presentation order; empty if they do not follow from the packets.

    They do not if timestamps are missing or repeat, if the first packet is not a key frame, or if frames after it are
    shown before it: only the decoder knows whether those are complete.
    """
    known = [pts for pts in times if pts is not None]
    if len(known) < len(times) or not known or not keys[0] or min(known) < known[0]:
        return {}
    visible = [pts for pts, is_shown in zip(known, shown, strict=True) if is_shown]
    numbers: dict[int | None, int] = {pts: number for number, pts in enumerate(sorted(visible))}
    return numbers if len(numbers) == len(visible) else {}


def mpeg4_types(packet: Packet) -> list[int]:
    """The picture types in a packet of MPEG-4 part 2, without pictures that repeat the one before."""
    if packet.size <= LARGEST_PLACEHOLDER:
        return []
    return [coded[0] >> 6 for coded in bytes(packet).split(VOP)[1:] if coded]


def is_mpeg4_order(times: Sequence[int | None], types: Sequence[Sequence[int]]) -> bool:
    """Whether MPEG-4 pictures are shown in the order of their timestamps.

    A B-picture is shown before the I- or P-picture that precedes it in the file; all others are shown in the file's
    order. Encoders that pack B-frames (DivX, Xvid) write packets with several pictures or none, whose timestamps do not
    say when each is shown.
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
    """Whether a VP8 frame is only a reference: the fifth bit means "show this frame" (RFC 6386, 9.1)."""
    return not memoryview(packet)[0] & 0x10


def decode_ranges(times: Sequence[int], starts: Sequence[int], wanted: Container[int | None]) -> list[tuple[int, int]]:
    """Ranges of packets (first, last) to decode, each from a key frame to the last wanted frame that depends on it.

    Args:
        times: timestamps of the packets.
        starts: numbers of the packets that hold key frames, ascending.
        wanted: timestamps of the wanted frames.
    """
    ranges: list[tuple[int, int]] = []
    group = 0
    for number, pts in enumerate(times):
        if group + 1 < len(starts) and starts[group + 1] == number:
            group += 1
        if pts not in wanted:
            continue
        # In an open group, frames shown before the key frame also refer to the previous group.
        leading = pts < times[starts[group]]
        first = starts[group - 1 if leading else group]
        while ranges and ranges[-1][1] >= first:
            first = min(first, ranges.pop()[0])
        ranges.append((first, number))
    return ranges


def missing_seconds(container: InputContainer, stream: VideoStream, ends: Mapping[int, int], start: float) -> float:
    """Seconds of video that the header declares but the file does not hold; 0 for a complete file.

    Args:
        container: container of the file.
        stream: video stream.
        ends: end of the last packet of each stream, in ticks, by the stream's number.
        start: first timestamp in seconds, see `clock_start`.
    """
    # Counting frames would be wrong: the header also counts frames that an edit list removes.
    end = max((ticks * float(container.streams[i].time_base or 0) for i, ticks in ends.items()), default=start) - start
    if stream.duration:
        declared = stream.duration * float(stream.time_base or 0)
        slack = 1.5 / float(stream.average_rate or 24)
    else:
        # Half a second of slack for headers that round, and for last packets without a duration.
        declared, slack = (container.duration or 0) / av.time_base, 0.5
    return declared - end if declared - end > slack else 0.0
