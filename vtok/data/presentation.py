"""Which frames a video will show and in which order, as far as its packets tell without decoding."""

from collections.abc import Sequence

from av.packet import Packet


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
