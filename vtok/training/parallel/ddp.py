"""Every process holds the whole model (DDP): the least communication, where it fits."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim import Optimizer

from vtok.model import VideoLanguageModel
from vtok.training.parallel.base import Parallel


class Ddp(Parallel):
    """torch's DistributedDataParallel, through Accelerate; one process alone trains without it."""

    name = "DDP"
    sharded = False

    def check(self, processes: int) -> None:
        """Any number will do."""

    def place(self, model: VideoLanguageModel, accelerator: Accelerator) -> None:
        model.to(accelerator.device)

    def prepare(
        self, accelerator: Accelerator, model: VideoLanguageModel, optimiser: Optimizer
    ) -> tuple[nn.Module, Optimizer]:
        return accelerator.prepare(model, optimiser)

    def exchanging(self, accelerator: Accelerator, trained: nn.Module, *, last: bool) -> AbstractContextManager[None]:
        return nullcontext() if last else accelerator.no_sync(trained)

    def clip(self, accelerator: Accelerator, parameters: Sequence[Tensor], norm: float) -> float:
        return float(accelerator.clip_grad_norm_(parameters, norm))

    def whole(self, model: VideoLanguageModel) -> AbstractContextManager[None]:
        return nullcontext()
