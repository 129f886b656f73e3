"""Feature maps to video tokens: VTok and the tokenisers it is measured against."""

from typing import TYPE_CHECKING

from vtok.common.lazy import lazy_exports

if TYPE_CHECKING:
    from vtok.data.plan import CodecMotionPlanner, FramePlan, KeyFramePlanner, SlowFastPlanner, StridePlanner
    from vtok.tokeniser.base import MOTION, SPATIAL, PlannedFrames, Tokeniser, VideoTokens
    from vtok.tokeniser.codec_motion import CodecMotionTokeniser
    from vtok.tokeniser.delta import DeltaTokeniser
    from vtok.tokeniser.frame_sampling import FrameSamplingTokeniser, KeyFrameTokeniser
    from vtok.tokeniser.motion import AttentionPooling, GridPooling, MeanPooling, MotionPooling, TransformerPooling
    from vtok.tokeniser.resampler import ResamplerTokeniser
    from vtok.tokeniser.slow_fast import SlowFastTokeniser
    from vtok.tokeniser.vtok import VTokTokeniser

__all__ = [
    "MOTION",
    "SPATIAL",
    "AttentionPooling",
    "CodecMotionPlanner",
    "CodecMotionTokeniser",
    "DeltaTokeniser",
    "FramePlan",
    "FrameSamplingTokeniser",
    "GridPooling",
    "KeyFramePlanner",
    "KeyFrameTokeniser",
    "MeanPooling",
    "MotionPooling",
    "PlannedFrames",
    "ResamplerTokeniser",
    "SlowFastPlanner",
    "SlowFastTokeniser",
    "StridePlanner",
    "Tokeniser",
    "TransformerPooling",
    "VTokTokeniser",
    "VideoTokens",
]

__getattr__, __dir__ = lazy_exports(__name__)
