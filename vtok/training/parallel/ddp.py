"""Every process holds the whole model (DDP): the least communication, where it fits."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

from accelerate import Accelerator
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from vtok.model import VideoLanguageModel
from vtok.training.parallel.base import Parallel


class Ddp(Parallel):
    """torch's DistributedDataParallel, through Accelerate; one process alone trains without it.

    Weights are exchanged at the start and gradients once a step. Buffers are not sent: the one that changes in training
    (`TokenScale`) is the same in all processes by itself.
    """

    name = "DDP"
    sharded = False

    def check(self, processes: int) -> None:
        """Any number will do."""

    def place(self, model: VideoLanguageModel, accelerator: Accelerator) -> None:
        model.place(accelerator.device)

    def prepare(
        self, accelerator: Accelerator, model: VideoLanguageModel, optimiser: Optimizer
    ) -> tuple[nn.Module, Optimizer]:
        # What is offloaded is frozen and on the CPU, where NCCL cannot send it from.
        offloaded = {id(tensor) for part in model.offloaded for tensor in (*part.parameters(), *part.buffers())}
        named = [*model.named_parameters(), *model.named_buffers()]
        DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(
            model, [name for name, tensor in named if id(tensor) in offloaded]
        )
        # `place` has put the model where it belongs, the offloaded parts on the CPU.
        return accelerator.prepare(model, optimiser, device_placement=[False, True])

    def exchanging(self, accelerator: Accelerator, trained: nn.Module, *, last: bool) -> AbstractContextManager[None]:
        return nullcontext() if last else accelerator.no_sync(trained)

    def clip(self, accelerator: Accelerator, parameters: Sequence[Tensor], norm: float) -> Tensor:
        return accelerator.clip_grad_norm_(parameters, norm)

    def whole(self, model: VideoLanguageModel) -> AbstractContextManager[None]:
        return nullcontext()
