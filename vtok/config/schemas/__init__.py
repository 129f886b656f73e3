"""One dataclass an option: the keys it has, their types and defaults. The YAML of the option says what they mean.

The option `conf/GROUP/OPTION.yaml` has its schema in `GROUP.py` of this folder, under its name in `OPTIONS`. A
tokeniser's schema gives its frame plan too, and a backbone's the side and the channels of its feature map where they
are known, for the checks. Nothing heavy is imported here, so that a mistake is told before torch is loaded. Tests hold
every schema to its target.
"""

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

from vtok.config.schemas.backbone import ClipBackbone, TinyBackbone, Vgg19Backbone, VisionBackbone
from vtok.config.schemas.data import Augmentation, FolderData, MixtureData, ShapesData, ShardData
from vtok.config.schemas.decoder import HunyuanVideoDecoder, NoDecoder, TinyDecoder, WanDecoder
from vtok.config.schemas.evaluation import Alignment
from vtok.config.schemas.generation import Generation, OracleJudge, OwnJudge, VlmJudge
from vtok.config.schemas.mllm import CausalLanguageModel, LlavaNextLanguageModel, TinyLanguageModel
from vtok.config.schemas.objective import Objective
from vtok.config.schemas.optimiser import Adafactor, AdamW, AdamW8bit, MuonAdamW, Sgd
from vtok.config.schemas.scheduler import Scheduler
from vtok.config.schemas.tokeniser import (
    AttentionPooling,
    CodecMotionTokeniser,
    DeltaTokeniser,
    FrameSamplingTokeniser,
    GridPooling,
    KeyFrameTokeniser,
    MeanPooling,
    ResamplerTokeniser,
    SlowFastTokeniser,
    TransformerPooling,
    VTokTokeniser,
)
from vtok.config.schemas.tracking import MlflowTracker, NoTracker
from vtok.config.schemas.trainer import Ddp, Fsdp2, Trainer
from vtok.config.schemas.visual_head import FlowHead, MixtureHead, NoVisualHead, RegressionHead


@dataclass
class Resume:
    """Which run to go on with, and the keys that may have changed since."""

    path: str | None = None
    allow: list[str] = field(default_factory=list)


@dataclass
class Config:
    """The whole: the groups, and what belongs to none of them."""

    seed: int = 0
    name: str | None = None
    resume: Resume = field(default_factory=Resume)
    optimise: str | None = None
    outputs: str = "outputs"
    allowed_targets: list[str] = field(default_factory=list)
    backbone: Any = MISSING
    tokeniser: Any = MISSING
    mllm: Any = MISSING
    visual_head: Any = MISSING
    decoder: Any = MISSING
    data: Any = MISSING
    optimiser: Any = MISSING
    scheduler: Any = MISSING
    objective: Any = MISSING
    trainer: Any = MISSING
    evaluation: Any = MISSING
    generation: Any = MISSING
    tracking: Any = MISSING


OPTIONS: dict[str, dict[str, type]] = {
    "backbone": {"tiny": TinyBackbone, "clip": ClipBackbone, "vgg19": Vgg19Backbone, "vision": VisionBackbone},
    "tokeniser": {
        "vtok": VTokTokeniser,
        "codec_motion": CodecMotionTokeniser,
        "delta": DeltaTokeniser,
        "frame_sampling": FrameSamplingTokeniser,
        "key_frame": KeyFrameTokeniser,
        "resampler": ResamplerTokeniser,
        "slow_fast": SlowFastTokeniser,
    },
    "tokeniser/motion_pooling": {
        "mean": MeanPooling,
        "grid": GridPooling,
        "attention": AttentionPooling,
        "transformer": TransformerPooling,
    },
    "mllm": {
        "tiny": TinyLanguageModel,
        "causal_lm": CausalLanguageModel,
        "llava_next": LlavaNextLanguageModel,
    },
    "visual_head": {"none": NoVisualHead, "regression": RegressionHead, "mixture": MixtureHead, "flow": FlowHead},
    "decoder": {
        "none": NoDecoder,
        "tiny": TinyDecoder,
        "hunyuan_video": HunyuanVideoDecoder,
        "wan": WanDecoder,
    },
    "data": {"shapes": ShapesData, "folder": FolderData, "shards": ShardData, "mixture": MixtureData},
    "data/augmentation": {"none": Augmentation, "standard": Augmentation},
    "optimiser": {
        "adamw": AdamW,
        "adamw8bit": AdamW8bit,
        "muon": MuonAdamW,
        "adafactor": Adafactor,
        "sgd": Sgd,
    },
    "objective": {"understanding": Objective, "generation": Objective, "joint": Objective},
    "scheduler": {"cosine": Scheduler, "constant": Scheduler},
    "trainer": {"default": Trainer},
    "trainer/parallel": {"ddp": Ddp, "fsdp2": Fsdp2},
    "evaluation": {"alignment": Alignment},
    "generation": {"default": Generation},
    "generation/judge": {"oracle": OracleJudge, "own": OwnJudge, "vlm": VlmJudge},
    "tracking": {"mlflow": MlflowTracker, "none": NoTracker},
}
