"""The processes of a run, and what they tell each other. torchrun or `accelerate launch` starts them; alone is one."""

from collections.abc import Callable
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


def full(tensor: Tensor) -> Tensor:
    """A tensor that may be cut, put together; all processes have to ask."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def local(tensor: Tensor) -> Tensor:
    """This process's part of a tensor that may be cut, in the memory of that tensor."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def moments(values: Tensor) -> tuple[int, Tensor, Tensor]:
    """Number, mean (d,) and standard deviation (d,) of the rows of `values` (N, d) of all processes; all have to ask.

    Less than two rows have no deviation (NaN).
    """
    if world_size() == 1:
        spread = values.std(0) if len(values) > 1 else values.new_full(values.shape[1:], float("nan"))
        return len(values), values.mean(0), spread
    sums = torch.cat([values.sum(0), values.new_tensor([len(values)])])
    dist.all_reduce(sums)
    number = int(sums[-1])
    mean = sums[:-1] / number
    squares = (values - mean).square().sum(0)
    dist.all_reduce(squares)
    # One row alone: 0 / 0.
    return number, mean, (squares / (number - 1)).sqrt()
