"""An optimiser's state as tensors named WEIGHT/ENTRY. A checkpoint saves random states in the same file."""

from collections.abc import Collection, Mapping
from pathlib import Path

import torch
from torch import Tensor

from vtok.common.errors import UserError
from vtok.training.random_state import ON_CPU, is_random_state
from vtok.training.sharded_tensors import SUFFIX


def weight_of(key: str) -> str:
    """The name of the weight that an entry of the state belongs to."""
    return key.rpartition("/")[0]


def state_by_name(optimiser: torch.optim.Optimizer, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state of all weights, without entries that are None."""
    names = _names_in_order(optimiser, weights)
    return {
        f"{names[index]}/{entry}": torch.as_tensor(value)
        for index, entries in optimiser.state_dict()["state"].items()
        for entry, value in entries.items()
        if value is not None
    }


def load_state(optimiser: torch.optim.Optimizer, tensors: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> None:
    """Load a state of `state_by_name` into an optimiser; its settings do not change."""
    positions = {name: index for index, name in enumerate(_names_in_order(optimiser, weights))}
    states: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        states.setdefault(positions[weight_of(key)], {})[key.rpartition("/")[2]] = tensor
    optimiser.load_state_dict({**optimiser.state_dict(), "state": states})


def check_optimiser_state(
    place: Path, tensors: Mapping[str, Tensor], weights: Collection[str], *, processes: int
) -> None:
    """Check that the state belongs to these weights and that all random states are there.

    Args:
        place: path of the checkpoint's file without its suffix.
        tensors: state and random states by name.
        weights: names of the trained weights.
        processes: number of processes that saved the checkpoint.

    Raises:
        UserError: a tensor belongs to other weights, or a random state is missing or damaged.
    """
    file = f"{place.name}{SUFFIX}"
    for key, tensor in tensors.items():
        # The shape of a weight's state is not checked: only its optimiser knows it.
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
