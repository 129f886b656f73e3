"""`conf/scheduler`: the learning rate over a run."""

from dataclasses import dataclass


@dataclass
class Scheduler:
    _target_: str = "transformers.get_scheduler"
    _partial_: bool = True
    name: str = "cosine"
    num_warmup_steps: int = 0
