"""`conf/evaluation`: the benchmark of understanding."""

from dataclasses import dataclass


@dataclass
class Alignment:
    _target_: str = "vtok.evaluation.Alignment"
    max_clips: int | None = None
    batch_size: int = 32
    sequences_at_once: int = 512
    score: str = "token"
    captions: bool = True
    max_new_tokens: int = 32
