"""The loop, its checkpoints, and the whole of a run."""

from typing import TYPE_CHECKING

from vtok.lazy import lazy_exports

if TYPE_CHECKING:
    from vtok.training.run import train
    from vtok.training.trainer import Progress, Trainer

__all__ = ["Progress", "Trainer", "train"]

__getattr__, __dir__ = lazy_exports(__name__)
