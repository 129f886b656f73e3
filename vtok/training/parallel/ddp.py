"""DDP: each process holds the full model. This needs the least communication, and the most memory."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

from accelerate import Accelerator
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from vtok.model import VideoLanguageModel
from vtok.training.parallel.base import Parallel


class Ddp(Parallel):
    """torch's DistributedDataParallel, through Accelerate; a single process trains without it.

    Weights are exchanged at the start, and gradients once a step. Buffers are not exchanged: those that change in
    training (of `TokenScale`) are the same in all processes.
    """

    name = "DDP"
    sharded = False

    def check(self, processes: int) -> None:
        """Accept any number of processes."""

    def place(self, model: VideoLanguageModel, accelerator: Accelerator) -> None:
        model.place(accelerator.device)

    def prepare(
        self, accelerator: Accelerator, model: VideoLanguageModel, optimiser: Optimizer
    ) -> tuple[nn.Module, Optimizer]:
        # Offloaded modules are frozen and on the CPU, from where NCCL cannot send them.
        offloaded = {id(tensor) for part in model.offloaded for tensor in (*part.parameters(), *part.buffers())}
        named = [*model.named_parameters(), *model.named_buffers()]
        DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(
            model, [name for name, tensor in named if id(tensor) in offloaded]
        )
        # `place` has already moved the model, and left the offloaded modules on the CPU.
        return accelerator.prepare(model, optimiser, device_placement=[False, True])

    def gradient_sync(
        self, accelerator: Accelerator, trained: nn.Module, *, last: bool
    ) -> AbstractContextManager[None]:
        return nullcontext() if last else accelerator.no_sync(trained)

    def clip(self, accelerator: Accelerator, parameters: Sequence[Tensor], norm: float) -> Tensor:
        return accelerator.clip_grad_norm_(parameters, norm)

    def unsharded(self, model: VideoLanguageModel) -> AbstractContextManager[None]:
        return nullcontext()
