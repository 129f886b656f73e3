"""How one clip is read."""

from dataclasses import dataclass

from vtok.common.setting_types import Count, Positive


@dataclass(frozen=True, kw_only=True)
class ClipSettings:
    """How one clip is read, the same for every clip of a run.

    Args:
        size: pixels a side of the square frames.
        num_frames: largest number of frames of a clip; the tokeniser plans on these.
        fps: frames a second of a clip, each the nearest frame of the file; None: the file's own rate.
        decode_timeout: seconds after which a clip that is still being read counts as broken; None: no limit.
    """

    size: Count
    num_frames: Count = 30
    fps: Positive | None = None
    decode_timeout: Positive | None = 60.0
