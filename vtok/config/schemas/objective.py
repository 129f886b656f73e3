"""`conf/objective`: which losses train the model."""

from dataclasses import dataclass


@dataclass
class Objective:
    _target_: str = "vtok.objective.Objective"
    lambda_under: float = 1.0
    lambda_visLM: float = 1.0
    lambda_dec: float = 1.0
    caption_dropout: float = 0.0
    condition_on_caption: bool = False
