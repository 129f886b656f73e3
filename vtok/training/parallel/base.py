"""The contract of all ways in which processes share a model."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager

from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim import Optimizer

from vtok.model import VideoLanguageModel


class Parallel(ABC):
    """What the loop asks of the processes' model. Every process calls each method, in the same order.

    Attributes:
        name: what a person is told.
        sharded: whether a process holds a part of each trained weight alone, and writes that part of a checkpoint.
    """

    name: str
    sharded: bool

    @abstractmethod
    def check(self, processes: int) -> None:
        """Raise UserError where so many processes cannot share a model in this way."""

    @abstractmethod
    def place(self, model: VideoLanguageModel, accelerator: Accelerator) -> None:
        """Put a model, in place, on the process's device: once, before its parameters are handed to anything else.

        Raises:
            UserError: it cannot be shared in this way.
        """

    @abstractmethod
    def prepare(
        self, accelerator: Accelerator, model: VideoLanguageModel, optimiser: Optimizer
    ) -> tuple[nn.Module, Optimizer]:
        """What is called for losses, in the precision of the training, and what takes the steps."""

    @abstractmethod
    def exchanging(self, accelerator: Accelerator, trained: nn.Module, *, last: bool) -> AbstractContextManager[None]:
        """Around the forward and backward pass of a micro-batch; gradients are exchanged with the `last` one of a step.

        Afterwards they are the mean over processes of the sum over the step's micro-batches.
        """

    @abstractmethod
    def clip(self, accelerator: Accelerator, parameters: Sequence[Tensor], norm: float) -> Tensor:
        """Scale the gradients so that their norm is at most `norm`; returns the norm before, () on the device.

        The device is not waited for.
        """

    @abstractmethod
    def whole(self, model: VideoLanguageModel) -> AbstractContextManager[None]:
        """Within, any method of the model may be called by any process as often as it likes; nothing is trained."""
