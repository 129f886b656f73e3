"""The ways in which the processes of a run share its model: DDP and FSDP2."""

from typing import TYPE_CHECKING

from vtok.common.lazy import lazy_exports

if TYPE_CHECKING:
    from vtok.training.parallel.base import Parallel
    from vtok.training.parallel.ddp import Ddp
    from vtok.training.parallel.fsdp2 import Fsdp2

__all__ = ["Ddp", "Fsdp2", "Parallel"]

__getattr__, __dir__ = lazy_exports(__name__)
