"""An optimiser's state as tensors named WEIGHT/ENTRY; a checkpoint keeps the random states beside them."""

from collections.abc import Collection, Mapping
from pathlib import Path

import torch
from torch import Tensor

from vtok.common.errors import UserError
from vtok.training.random_state import ON_CPU, is_random_state
from vtok.training.sharded_tensors import SUFFIX


def weight_of(key: str) -> str:
    """The name of the weight that a tensor of the state belongs to."""
    return key.rpartition("/")[0]


def state_by_name(optimiser: torch.optim.Optimizer, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state of all weights; entries without a value are left out."""
    names = _names_in_order(optimiser, weights)
    return {
        f"{names[index]}/{entry}": torch.as_tensor(value)
        for index, entries in optimiser.state_dict()["state"].items()
        for entry, value in entries.items()
        if value is not None
    }


def load_state(optimiser: torch.optim.Optimizer, tensors: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> None:
    """Give an optimiser a state of `state_by_name`; its settings stay."""
    positions = {name: index for index, name in enumerate(_names_in_order(optimiser, weights))}
    states: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        states.setdefault(positions[weight_of(key)], {})[key.rpartition("/")[2]] = tensor
    optimiser.load_state_dict({**optimiser.state_dict(), "state": states})


def check_tensors(place: Path, tensors: Mapping[str, Tensor], weights: Collection[str], *, processes: int) -> None:
    """Refuse state that belongs to other weights, and random states that are missing or damaged.

    Args:
        place: the checkpoint's file that they were read from, without its suffix.
        tensors: state and random states by name.
        weights: names of those that are trained.
        processes: number of processes that each saved their random state.

    Raises:
        UserError: they do not fit.
    """
    file = f"{place.name}{SUFFIX}"
    for key, tensor in tensors.items():
        # Of what shape the state of a weight is, its optimiser alone knows.
        fits = tensor.dtype == torch.uint8 and tensor.ndim == 1 if is_random_state(key) else weight_of(key) in weights
        if not fits:
            raise UserError(f"{place.parent}: {key} of {file} does not fit this run. Copy the folder again.")
    here = torch.get_rng_state()
    for rank in range(processes):
        saved = tensors.get(f"{ON_CPU}/{rank}")
        if saved is None or saved.shape != here.shape:
            raise UserError(f"{place.parent}: {file} has no random state of process {rank}. Copy the folder again.")


def _names_in_order(optimiser: torch.optim.Optimizer, weights: Mapping[str, Tensor]) -> list[str]:
    """The names of the optimiser's parameters, in the order in which its state dict numbers them."""
    names = {id(tensor): name for name, tensor in weights.items()}
    return [names[id(parameter)] for group in optimiser.param_groups for parameter in group["params"]]
