"""The loop, its checkpoints, and the whole of a run."""

from vtok.training.run import train
from vtok.training.trainer import Progress, Trainer

__all__ = ["Progress", "Trainer", "train"]
