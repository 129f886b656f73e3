"""`conf/generation` and `conf/generation/judge`: the benchmark of generation."""

from dataclasses import dataclass
from typing import Any

from omegaconf import MISSING


@dataclass
class Generation:
    _target_: str = "vtok.evaluation.Generation"
    max_clips: int | None = 200
    clips_while_training: int = 32
    batch_size: int = 32
    steps: int = 20
    guidance: float = 1.0
    temperature: float = 1.0
    seed: int = 0
    judge: Any = MISSING


@dataclass
class OracleJudge:
    _target_: str = "vtok.evaluation.judge.OracleJudge"


@dataclass
class OwnJudge:
    _target_: str = "vtok.evaluation.judge.OwnJudge"
    sequences_at_once: int = 512


@dataclass
class VlmJudge:
    _target_: str = "vtok.evaluation.judge.VlmJudge"
    weights: str = "llava-hf/llava-interleave-qwen-7b-hf"
    revision: str | None = None
    dtype: str = "bfloat16"
    prompt: str = "These are the frames of one video, in order. {question} Answer with one of these: {choices}."
    max_new_tokens: int = 16
