"""Checkpoints: the trained weights and what it takes to go on from them, in safetensors and JSON, never in pickles.

A checkpoint folder holds `model.safetensors` (trained weights by name), `optimiser.safetensors` (optimiser state by the
parameter's name, and the random state) and `state.json` (the step, the schedule, the optimiser's settings).
"""

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from vtok.errors import UserError

RANDOM_STATE = "random_state"


def trained_weights(model: nn.Module) -> dict[str, Tensor]:
    """The parameters that are trained, by name and in the order of their names."""
    return {name: tensor for name, tensor in sorted(model.named_parameters()) if tensor.requires_grad}


def digest(weights: dict[str, Tensor]) -> str:
    """sha256 over the bytes of the weights, in the order of their names."""
    total = hashlib.sha256()
    for _, tensor in sorted(weights.items()):
        total.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()


def save_checkpoint(
    folder: Path, *, model: nn.Module, optimiser: torch.optim.Optimizer, scheduler: Any, step: int, keep: int
) -> Path:
    """Write `folder`/step-N, whole or not at all, and remove all but the newest `keep`."""
    target = folder / f"step-{step:08d}"
    partial = folder / f".partial-{target.name}"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    weights = trained_weights(model)
    save_file(
        {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}, partial / "model.safetensors"
    )
    tensors, groups = _optimiser_state(optimiser, weights)
    save_file({**tensors, RANDOM_STATE: torch.get_rng_state()}, partial / "optimiser.safetensors")
    state = {"step": step, "scheduler": scheduler.state_dict(), "groups": groups}
    (partial / "state.json").write_text(json.dumps(state), encoding="utf-8")
    for file in partial.iterdir():
        _flush(file)
    shutil.rmtree(target, ignore_errors=True)
    partial.replace(target)
    _flush(folder)
    for old in list_checkpoints(folder)[:-keep]:
        shutil.rmtree(old)
    return target


def list_checkpoints(folder: Path) -> list[Path]:
    """The whole checkpoints in a folder, oldest first."""
    return sorted(path for path in folder.glob("step-*") if (path / "state.json").is_file())


def latest_checkpoint(run_dir: Path) -> Path:
    """The newest checkpoint of a run.

    Raises:
        UserError: it has none.
    """
    found = list_checkpoints(run_dir / "checkpoints")
    if not found:
        raise UserError(f"{run_dir} has no checkpoint: the run did not get as far as saving one.")
    return found[-1]


def load_weights(checkpoint: Path, model: nn.Module) -> None:
    """Put the trained weights of a checkpoint into a model of the same configuration.

    Raises:
        UserError: they do not fit.
    """
    weights, here = load_file(checkpoint / "model.safetensors"), trained_weights(model)
    if weights.keys() != here.keys():
        odd = sorted(weights.keys() ^ here.keys())
        raise UserError(
            f"{checkpoint} is of another model: {len(odd)} weights have no counterpart, {odd[0]} among them."
        )
    with torch.no_grad():
        for name, tensor in here.items():
            if tensor.shape != weights[name].shape:
                raise UserError(
                    f"{checkpoint} is of another model: {name} has the shape {tuple(weights[name].shape)} there "
                    f"and {tuple(tensor.shape)} here."
                )
            tensor.copy_(weights[name])


def load_training(checkpoint: Path, *, model: nn.Module, optimiser: torch.optim.Optimizer, scheduler: Any) -> int:
    """Everything `save_checkpoint` saved, back in its place; returns the step."""
    load_weights(checkpoint, model)
    state = json.loads((checkpoint / "state.json").read_text(encoding="utf-8"))
    tensors = load_file(checkpoint / "optimiser.safetensors")
    torch.set_rng_state(tensors.pop(RANDOM_STATE))
    positions = {name: index for index, name in enumerate(_names_in_order(optimiser, trained_weights(model)))}
    states: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        name, _, entry = key.rpartition("/")
        states.setdefault(positions[name], {})[entry] = tensor
    optimiser.load_state_dict({"state": states, "param_groups": state["groups"]})
    scheduler.load_state_dict(state["scheduler"])
    return int(state["step"])


def _optimiser_state(
    optimiser: torch.optim.Optimizer, weights: dict[str, Tensor]
) -> tuple[dict[str, Tensor], list[Any]]:
    state = optimiser.state_dict()
    names = _names_in_order(optimiser, weights)
    tensors = {
        f"{names[index]}/{entry}": torch.as_tensor(value).cpu().contiguous()
        for index, entries in state["state"].items()
        for entry, value in entries.items()
        if value is not None
    }
    return tensors, state["param_groups"]


def _names_in_order(optimiser: torch.optim.Optimizer, weights: dict[str, Tensor]) -> list[str]:
    """The names of the optimiser's parameters, in the order in which its state dict numbers them."""
    names = {id(tensor): name for name, tensor in weights.items()}
    return [names[id(parameter)] for group in optimiser.param_groups for parameter in group["params"]]


def _flush(path: Path) -> None:
    """Have the system write a file or a folder to the disk now: a rename must not overtake its contents."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
