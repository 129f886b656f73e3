"""The contract of all ways in which processes share a model."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager

from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim import Optimizer

from vtok.model import VideoLanguageModel


class Parallel(ABC):
    """The model of several processes, as the training loop uses it. All processes call each method, in the same order.

    Attributes:
        name: name in the log.
        sharded: whether each process holds only a shard of each trained weight, and writes its shards of a checkpoint.
    """

    name: str
    sharded: bool

    @abstractmethod
    def check(self, processes: int) -> None:
        """Raise UserError if this number of processes cannot share a model in this way."""

    @abstractmethod
    def place(self, model: VideoLanguageModel, accelerator: Accelerator) -> None:
        """Move a model to the process's device, in place. Call it once, before its parameters are used elsewhere.

        Raises:
            UserError: the model cannot be shared in this way.
        """

    @abstractmethod
    def prepare(
        self, accelerator: Accelerator, model: VideoLanguageModel, optimiser: Optimizer
    ) -> tuple[nn.Module, Optimizer]:
        """The module that computes the losses in the precision of the training, and the optimiser that takes steps."""

    @abstractmethod
    def gradient_sync(
        self, accelerator: Accelerator, trained: nn.Module, *, last: bool
    ) -> AbstractContextManager[None]:
        """A context for the forward and backward pass of a micro-batch.

        Gradients are exchanged only with the `last` micro-batch of a step. They are then summed over micro-batches and
        averaged over processes.
        """

    @abstractmethod
    def clip(self, accelerator: Accelerator, parameters: Sequence[Tensor], norm: float) -> Tensor:
        """Scale the gradients to a norm of at most `norm`, and return the norm before, a scalar on the device.

        It does not wait for the device.
        """

    @abstractmethod
    def unsharded(self, model: VideoLanguageModel) -> AbstractContextManager[None]:
        """A context in which each process has the full weights and may call any method of the model, without training.

        The number of calls may differ between processes.
        """
