"""Settings of a clip: size, number and rate of its frames."""

from dataclasses import dataclass

from vtok.common.setting_types import Count, Positive


@dataclass(frozen=True, kw_only=True)
class ClipSettings:
    """How a clip is read; the same for all clips of a run.

    Args:
        size: side of the square frames in pixels.
        num_frames: largest number of frames of a clip, from which the tokeniser samples.
        fps: frames a second of a clip, by the nearest frames of the file; None: the rate of the file.
        decode_timeout: seconds after which a clip that is still being decoded counts as broken; None: no limit.
    """

    size: Count
    num_frames: Count = 30
    fps: Positive | None = None
    decode_timeout: Positive | None = 60.0
