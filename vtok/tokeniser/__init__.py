"""Feature maps to video tokens: VTok and the tokenisers it is measured against."""

from vtok.plan import FramePlan, KeyFramePlanner, StridePlanner
from vtok.tokeniser.base import MOTION, SPATIAL, PlannedFrames, Tokeniser, VideoTokens
from vtok.tokeniser.motion import AttentionPooling, GridPooling, MeanPooling, MotionPooling
from vtok.tokeniser.rivals import FrameSamplingTokeniser, KeyFrameTokeniser
from vtok.tokeniser.vtok import VTokTokeniser

__all__ = [
    "MOTION",
    "SPATIAL",
    "AttentionPooling",
    "FramePlan",
    "FrameSamplingTokeniser",
    "GridPooling",
    "KeyFramePlanner",
    "KeyFrameTokeniser",
    "MeanPooling",
    "MotionPooling",
    "PlannedFrames",
    "StridePlanner",
    "Tokeniser",
    "VTokTokeniser",
    "VideoTokens",
]
