"""The loop, its checkpoints, and the whole of a run."""

from typing import TYPE_CHECKING

from vtok.common.lazy import lazy_exports

if TYPE_CHECKING:
    from vtok.training.loop import Progress, Trainer
    from vtok.training.run import train

__all__ = ["Progress", "Trainer", "train"]

__getattr__, __dir__ = lazy_exports(__name__)
