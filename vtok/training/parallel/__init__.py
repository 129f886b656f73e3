"""How the processes of a run share its model."""

from vtok.training.parallel.base import Parallel
from vtok.training.parallel.ddp import Ddp
from vtok.training.parallel.fsdp2 import Fsdp2

__all__ = ["Ddp", "Fsdp2", "Parallel"]
