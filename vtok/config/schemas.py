"""One dataclass an option: the keys it has, their types and defaults. The YAML of the option says what they mean.

A tokeniser's schema gives its frame plan too, and a backbone's the side of its feature map where that is known, for the
checks. Nothing heavy is imported here, so that a mistake is told before torch is loaded. Tests hold every schema to its
target.
"""

import re
from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

from vtok.plan import KeyFramePlanner, StridePlanner

CLIP_L_336 = "openai/clip-vit-large-patch14-336"
VGG19_LAYERS = (
    *(f"{kind}{block}_{i}" for kind in ("conv", "relu") for block in (1, 2) for i in (1, 2)),
    *(f"{kind}{block}_{i}" for kind in ("conv", "relu") for block in (3, 4, 5) for i in (1, 2, 3, 4)),
    *(f"pool{block}" for block in (1, 2, 3, 4, 5)),
)


@dataclass
class TinyBackbone:
    _target_: str = "vtok.backbone.TinyBackbone"
    feature_dim: int = 96
    image_size: int = 64
    width: int = 32
    frozen: bool = False

    def feature_size(self) -> int | None:
        return self.image_size // 8


@dataclass
class ClipBackbone:
    _target_: str = "vtok.backbone.ClipBackbone"
    weights: str | None = CLIP_L_336
    revision: str | None = None
    layer: int = -1
    image_size: int = 336
    dtype: str = "float32"
    frozen: bool = True

    def feature_size(self) -> int | None:
        """Known of the default and of random weights; others bring their own sizes."""
        return self.image_size // 14 if self.weights in (None, CLIP_L_336) else None


@dataclass
class Vgg19Backbone:
    _target_: str = "vtok.backbone.Vgg19Backbone"
    weights: str | None = None
    layer: str = "conv4_4"
    image_size: int = 224
    frozen: bool = True

    def feature_size(self) -> int | None:
        """Each block but the first works at half the side of the one before; its pool halves once more."""
        named = re.fullmatch(r"(conv|relu|pool)([1-5])(_[1-4])?", self.layer)
        return self.image_size // 2 ** (int(named[2]) - 1 + (named[1] == "pool")) if named else None


@dataclass
class VTokTokeniser:
    _target_: str = "vtok.tokeniser.VTokTokeniser"
    backbone: Any = MISSING
    grid_size: int = 4
    stride: int = 6
    token_dim: int | None = None
    key_frame: Any = "first"
    motion_pooling: Any = MISSING
    residual_scale: float = 1.0

    def planner(self) -> StridePlanner:
        return StridePlanner(self.stride, self.key_frame, key_tokens=self.grid_size**2, frame_tokens=1)


@dataclass
class FrameSamplingTokeniser:
    _target_: str = "vtok.tokeniser.FrameSamplingTokeniser"
    backbone: Any = MISSING
    grid_size: int = 2
    stride: int = 6
    token_dim: int | None = None

    def planner(self) -> StridePlanner:
        return StridePlanner(self.stride, key_tokens=self.grid_size**2, frame_tokens=self.grid_size**2)


@dataclass
class KeyFrameTokeniser:
    _target_: str = "vtok.tokeniser.KeyFrameTokeniser"
    backbone: Any = MISSING
    grid_size: int = 4
    stride: int = 6
    token_dim: int | None = None
    key_frame: Any = "first"

    def planner(self) -> StridePlanner:
        return KeyFramePlanner(self.stride, self.key_frame, key_tokens=self.grid_size**2)


@dataclass
class MeanPooling:
    _target_: str = "vtok.tokeniser.MeanPooling"
    _partial_: bool = True


@dataclass
class GridPooling:
    _target_: str = "vtok.tokeniser.GridPooling"
    _partial_: bool = True
    size: int = 2


@dataclass
class AttentionPooling:
    _target_: str = "vtok.tokeniser.AttentionPooling"
    _partial_: bool = True
    size: int = 8


@dataclass
class TinyLanguageModel:
    _target_: str = "vtok.mllm.TinyLanguageModel"
    width: int = 96
    layers: int = 2
    heads: int = 4
    context_length: int = 1024


@dataclass
class NoDecoder:
    _target_: str = "vtok.decoder.NoDecoder"


@dataclass
class ShapesData:
    _target_: str = "vtok.data.ShapesData"
    root: str = MISSING
    level: str = "easy"
    train_clips: int = 2400
    heldout_clips: int = 400
    seed: int = 0
    pixels: int = 64
    make_workers: int | None = None
    size: int = MISSING
    num_frames: int = 30
    fps: float | None = None
    batch_size: int = 32
    num_workers: int = 1
    max_bad_fraction: float = 0.1
    limit: int | None = None


@dataclass
class FolderData:
    _target_: str = "vtok.data.FolderData"
    root: str = MISSING
    manifest: str | None = None
    frames_fps: float = 24.0
    heldout_fraction: float = 0.1
    size: int = MISSING
    num_frames: int = 30
    fps: float | None = None
    batch_size: int = 8
    num_workers: int = 1
    max_bad_fraction: float = 0.1
    limit: int | None = None


@dataclass
class AdamW:
    _target_: str = "torch.optim.AdamW"
    _partial_: bool = True
    lr: float = 1e-5
    betas: list[float] = field(default_factory=lambda: [0.9, 0.999])
    eps: float = 1e-8
    weight_decay: float = 0.01


@dataclass
class Sgd:
    _target_: str = "torch.optim.SGD"
    _partial_: bool = True
    lr: float = 0.1
    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float = 0.0


@dataclass
class Scheduler:
    _target_: str = "transformers.get_scheduler"
    _partial_: bool = True
    name: str = "cosine"
    num_warmup_steps: int = 0


@dataclass
class Understanding:
    _target_: str = "vtok.model.Understanding"
    lambda_under: float = 1.0


@dataclass
class Trainer:
    _target_: str = "vtok.training.Trainer"
    max_steps: int = 600
    accumulate: int = 1
    clip_norm: float = 1.0
    precision: str = "auto"
    device: str = "auto"
    questions_per_clip: int | None = None
    yes_no_share: float = 1.0
    log_every: int = 10
    evaluate_every: int = 0
    save_every: int = 0
    keep_checkpoints: int = 3
    stop_loss: float | None = None
    profile_steps: int = 0
    progress: bool = True


@dataclass
class Alignment:
    _target_: str = "vtok.evaluation.Alignment"
    max_clips: int | None = None
    batch_size: int = 32
    sequences_at_once: int = 512
    captions: bool = True
    max_new_tokens: int = 32


@dataclass
class MlflowTracker:
    _target_: str = "vtok.tracking.mlflow.MlflowTracker"
    uri: str = MISSING
    experiment: str = "vtok"
    artifact_root: str | None = None
    system_metrics: bool = True


@dataclass
class NoTracker:
    _target_: str = "vtok.tracking.none.NoTracker"


@dataclass
class Config:
    """The whole: the groups, and what belongs to none of them."""

    seed: int = 0
    name: str | None = None
    resume: str | None = None
    outputs: str = "outputs"
    allowed_targets: list[str] = field(default_factory=list)
    backbone: Any = MISSING
    tokeniser: Any = MISSING
    mllm: Any = MISSING
    decoder: Any = MISSING
    data: Any = MISSING
    optimiser: Any = MISSING
    scheduler: Any = MISSING
    objective: Any = MISSING
    trainer: Any = MISSING
    evaluation: Any = MISSING
    tracking: Any = MISSING


OPTIONS: dict[str, dict[str, type]] = {
    "backbone": {"tiny": TinyBackbone, "clip": ClipBackbone, "vgg19": Vgg19Backbone},
    "tokeniser": {
        "vtok": VTokTokeniser,
        "frame_sampling": FrameSamplingTokeniser,
        "key_frame": KeyFrameTokeniser,
    },
    "tokeniser/motion_pooling": {"mean": MeanPooling, "grid": GridPooling, "attention": AttentionPooling},
    "mllm": {"tiny": TinyLanguageModel},
    "decoder": {"none": NoDecoder},
    "data": {"shapes": ShapesData, "folder": FolderData},
    "optimiser": {"adamw": AdamW, "sgd": Sgd},
    "objective": {"understanding": Understanding},
    "scheduler": {"cosine": Scheduler, "constant": Scheduler},
    "trainer": {"default": Trainer},
    "evaluation": {"alignment": Alignment},
    "tracking": {"mlflow": MlflowTracker, "none": NoTracker},
}
