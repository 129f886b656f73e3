"""Which frames a video will show and in which order, as far as its packets tell without decoding."""

from collections.abc import Container, Mapping, Sequence

import av
from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream


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


def missing(container: InputContainer, stream: VideoStream, ends: Mapping[int, int]) -> float:
    """Seconds of video that a header promises beyond the `ends` of the packets, by stream; 0 of a whole file."""
    # Counting frames would not do: what an edit list cuts off is in the header's count and not among the packets.
    end = max((ticks * float(container.streams[i].time_base or 0) for i, ticks in ends.items()), default=0.0)
    if stream.duration:
        promised = stream.duration * float(stream.time_base or 0)
        slack = 1.5 / float(stream.average_rate or 24)
    else:
        # Half a second is left to headers that round and to last packets that do not tell their duration.
        promised, slack = (container.duration or 0) / av.time_base, 0.5
    return promised - end if promised - end > slack else 0.0
