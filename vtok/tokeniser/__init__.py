"""Feature maps to video tokens: VTok and the tokenisers it is measured against."""

from typing import TYPE_CHECKING

from vtok.common.lazy import lazy_exports

if TYPE_CHECKING:
    from vtok.tokeniser.adaptive import AdaptiveTokeniser
    from vtok.tokeniser.base import MOTION, SPATIAL, Tokeniser, VideoTokens
    from vtok.tokeniser.codec_motion import CodecMotionTokeniser
    from vtok.tokeniser.delta import DeltaTokeniser
    from vtok.tokeniser.elastic import ElasticTokeniser
    from vtok.tokeniser.evs import EvsTokeniser
    from vtok.tokeniser.frame_sampling import FrameSamplingTokeniser, KeyFrameTokeniser
    from vtok.tokeniser.frequency import FrequencyTokeniser
    from vtok.tokeniser.grouped_ttm import GroupedTtmTokeniser
    from vtok.tokeniser.kmeans import KMeansTokeniser
    from vtok.tokeniser.llama_vid import LlamaVidTokeniser
    from vtok.tokeniser.motion import (
        AttentionPooling,
        FramePooling,
        GridPooling,
        MeanPooling,
        MotionPooling,
        TransformerPooling,
    )
    from vtok.tokeniser.patches import Patches, PatchTokeniser
    from vtok.tokeniser.planned_frames import PlannedFrames
    from vtok.tokeniser.random_patches import RandomTokeniser
    from vtok.tokeniser.resampler import ResamplerTokeniser
    from vtok.tokeniser.slow_fast import SlowFastTokeniser
    from vtok.tokeniser.token_learner import TokenLearnerTokeniser
    from vtok.tokeniser.tome import ToMeTokeniser
    from vtok.tokeniser.uniform import UniformTokeniser
    from vtok.tokeniser.vidcom2 import VidCom2Tokeniser
    from vtok.tokeniser.visionzip import VisionZipTokeniser
    from vtok.tokeniser.vtok import VTokTokeniser

__all__ = [
    "MOTION",
    "SPATIAL",
    "AdaptiveTokeniser",
    "AttentionPooling",
    "CodecMotionTokeniser",
    "DeltaTokeniser",
    "ElasticTokeniser",
    "EvsTokeniser",
    "FramePooling",
    "FrameSamplingTokeniser",
    "FrequencyTokeniser",
    "GridPooling",
    "GroupedTtmTokeniser",
    "KMeansTokeniser",
    "KeyFrameTokeniser",
    "LlamaVidTokeniser",
    "MeanPooling",
    "MotionPooling",
    "PatchTokeniser",
    "Patches",
    "PlannedFrames",
    "RandomTokeniser",
    "ResamplerTokeniser",
    "SlowFastTokeniser",
    "ToMeTokeniser",
    "TokenLearnerTokeniser",
    "Tokeniser",
    "TransformerPooling",
    "UniformTokeniser",
    "VTokTokeniser",
    "VidCom2Tokeniser",
    "VideoTokens",
    "VisionZipTokeniser",
]

__getattr__, __dir__ = lazy_exports(__name__)
