"""Training: the run, its loop and its checkpoints."""

from typing import TYPE_CHECKING

from vtok.common.lazy import lazy_exports

if TYPE_CHECKING:
    from vtok.training.run import train
    from vtok.training.trainer import Trainer

__all__ = ["Trainer", "train"]

__getattr__, __dir__ = lazy_exports(__name__)
