"""Communication between the processes of a run, which torchrun or `accelerate launch` starts."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor
from torch import distributed as dist
from torch.distributed.tensor import DTensor

T = TypeVar("T")


def world_size() -> int:
    """The number of processes; 1 without torch.distributed."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """The number of this process, from 0."""
    return dist.get_rank() if world_size() > 1 else 0


def gathered(value: T) -> list[T]:
    """The value of each process, in the order of ranks. A collective: every process calls it. Values are pickled."""
    if world_size() == 1:
        return [value]
    values: list[T] = [value] * world_size()
    dist.all_gather_object(values, value)
    return values


def on_main_process(action: Callable[[], object]) -> None:
    """Run an action on process 0 while the others wait. A collective: every process calls it.

    Raises:
        OSError: the action failed; every process raises it.
    """
    mistake = None
    if rank() == 0:
        try:
            action()
        except OSError as error:
            mistake = str(error)
    mistake = gathered(mistake)[0]
    if mistake is not None:
        raise OSError(mistake)


def summed(numbers: Sequence[int]) -> list[int]:
    """The sum of each number over all processes, on the CPU. A collective: every process gives as many numbers."""
    if world_size() == 1:
        return [int(number) for number in numbers]
    tensor = torch.tensor(numbers, dtype=torch.long)
    dist.all_reduce(tensor)
    return tensor.tolist()


def summed_tensor(tensor: Tensor) -> Tensor:
    """The sum of a tensor over all processes, in place, without a device synchronisation. A collective."""
    if world_size() > 1:
        dist.all_reduce(tensor)
    return tensor


def full(tensor: Tensor) -> Tensor:
    """The full tensor of one that may be sharded. A collective."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def local(tensor: Tensor) -> Tensor:
    """This process's shard of a tensor that may be sharded; it shares the tensor's memory."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def gathered_tensors(tensor: Tensor) -> list[Tensor]:
    """The tensor of each process, in the order of ranks. A collective: all have the same shape and dtype."""
    if world_size() == 1:
        return [tensor]
    tensors = [torch.empty_like(tensor) for _ in range(world_size())]
    dist.all_gather(tensors, tensor.contiguous())
    return tensors
