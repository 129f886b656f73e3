"""The processes of a run, and what they tell each other. torchrun or `accelerate launch` starts them; alone is one."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor
from torch import distributed as dist
from torch.distributed.tensor import DTensor

T = TypeVar("T")


def world_size() -> int:
    """How many processes there are."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Which of them this one is, from 0 on."""
    return dist.get_rank() if world_size() > 1 else 0


def gathered(value: T) -> list[T]:
    """What each process gives, by its rank; all of them have to ask. Values are pickled."""
    if world_size() == 1:
        return [value]
    values: list[T] = [value] * world_size()
    dist.all_gather_object(values, value)
    return values


def led(action: Callable[[], object]) -> None:
    """Have the first process do something and the others wait for it; all have to ask.

    Raises:
        OSError: it could not do it; raised by all.
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


def summed(numbers: Sequence[int], *, device: torch.device) -> list[int]:
    """The sum of each of the numbers over all processes; all have to ask, with as many.

    `device`: device that the processes exchange tensors on. Alone, a process does not touch it.
    """
    if world_size() == 1:
        return [int(number) for number in numbers]
    tensor = torch.tensor(numbers, dtype=torch.long, device=device)
    dist.all_reduce(tensor)
    return tensor.tolist()


def summed_tensor(tensor: Tensor) -> Tensor:
    """The sum of a tensor over all processes, in its memory; all have to ask. The device is not waited for."""
    if world_size() > 1:
        dist.all_reduce(tensor)
    return tensor


def full(tensor: Tensor) -> Tensor:
    """A tensor that may be cut, put together; all processes have to ask."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def local(tensor: Tensor) -> Tensor:
    """This process's part of a tensor that may be cut, in the memory of that tensor."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def gathered_tensors(tensor: Tensor) -> list[Tensor]:
    """The tensor of each process, by its rank; all have to ask, with tensors of one shape and dtype."""
    if world_size() == 1:
        return [tensor]
    tensors = [torch.empty_like(tensor) for _ in range(world_size())]
    dist.all_gather(tensors, tensor.contiguous())
    return tensors
