"""`conf/trainer` and `conf/trainer/parallel`: the loop, and how processes share its model."""

from dataclasses import dataclass
from typing import Any

from omegaconf import MISSING


@dataclass
class Trainer:
    _target_: str = "vtok.training.Trainer"
    max_steps: int = 600
    accumulate: int = 1
    clip_norm: float = 1.0
    ema_decay: float | None = None
    precision: str = "auto"
    compile: bool = False
    device: str = "auto"
    processes: int | None = None
    questions_per_clip: int | None = None
    yes_no_share: float = 1.0
    log_every: int = 10
    evaluate_every: int = 0
    save_every: int = 0
    keep_checkpoints: int = 3
    best_by: str | None = None
    best_is: str = "max"
    stop_loss: float | None = None
    peak_tflops: float | None = None
    profile_steps: int = 0
    progress: bool = True
    parallel: Any = MISSING


@dataclass
class Ddp:
    _target_: str = "vtok.training.parallel.Ddp"


@dataclass
class Fsdp2:
    _target_: str = "vtok.training.parallel.Fsdp2"
