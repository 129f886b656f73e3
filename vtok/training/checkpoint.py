"""Checkpoints: the trained weights and what it takes to go on from them, in safetensors and JSON, never in pickles.

A checkpoint folder holds `model.safetensors` (trained weights and persistent buffers by name), `ema.safetensors` (the
moving average of the trained weights by name, where there is one), `optimiser.safetensors` (optimiser state by the
parameter's name, and the random state) and `state.json` (the step, the schedule, the optimiser's settings).
"""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from vtok.errors import UserError

RANDOM_STATE, GPU_RANDOM_STATE = "random_state", "gpu_random_state"
MODEL, AVERAGE, OPTIMISER = "model.safetensors", "ema.safetensors", "optimiser.safetensors"


def trained_weights(model: nn.Module) -> dict[str, Tensor]:
    """The parameters that are trained, by name and in the order of their names."""
    return {name: tensor for name, tensor in sorted(model.named_parameters()) if tensor.requires_grad}


def persistent_buffers(model: nn.Module) -> dict[str, Tensor]:
    """What the model remembers beside its parameters, by name and in the order of the names."""
    persistent = model.state_dict().keys()
    return {name: tensor for name, tensor in sorted(model.named_buffers()) if name in persistent}


def digest(weights: dict[str, Tensor]) -> str:
    """sha256 over the bytes of the weights, in the order of their names."""
    total = hashlib.sha256()
    for _, tensor in sorted(weights.items()):
        total.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()


def save_checkpoint(
    folder: Path,
    *,
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    scheduler: Any,
    step: int,
    keep: int,
    spare: int | None = None,
    average: Mapping[str, Tensor] | None = None,
    random: Sequence[Mapping[str, Tensor]] | None = None,
) -> Path:
    """Write `folder`/step-N, whole or not at all, and remove all but the newest `keep` and that of the step `spare`.

    `average`: the moving average of the trained weights, see `Ema.state`. `random`: the `random_states` of each
    process by its rank; this one's alone where None.

    Raises:
        UserError: the disk is full, or does not take it for another reason; what was saved before is still there.
    """
    target = folder / f"step-{step:08d}"
    partial = folder / f".partial-{target.name}"
    shutil.rmtree(partial, ignore_errors=True)
    weights = trained_weights(model)
    tensors, groups = _optimiser_state(optimiser, weights)
    states = [random_states()] if random is None else random
    tensors |= {f"{name}/{rank}": state for rank, each in enumerate(states) for name, state in each.items()}
    state = {"step": step, "processes": len(states), "scheduler": scheduler.state_dict(), "groups": groups}
    try:
        partial.mkdir(parents=True)
        _save(weights | persistent_buffers(model), partial / MODEL)
        if average is not None:
            _save(average, partial / AVERAGE)
        save_file(tensors, partial / OPTIMISER)
        (partial / "state.json").write_text(json.dumps(state), encoding="utf-8")
        for file in partial.iterdir():
            _flush(file)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        saved = list_checkpoints(folder)
        rest = f"{saved[-1]} is still there" if saved else "there is none before it"
        raise UserError(
            f"{target}: the checkpoint cannot be written ({error}); {rest}. Make room, and resume."
        ) from error
    shutil.rmtree(target, ignore_errors=True)
    partial.replace(target)
    _flush(folder)
    for old in list_checkpoints(folder)[:-keep]:
        if old != checkpoint_of(folder, spare):
            shutil.rmtree(old)
    return target


def checkpoint_of(folder: Path, step: int | None) -> Path | None:
    """The place of a step's checkpoint in a folder of them."""
    return None if step is None else folder / f"step-{step:08d}"


def list_checkpoints(folder: Path) -> list[Path]:
    """The whole checkpoints in a folder, oldest first."""
    return sorted(path for path in folder.glob("step-*") if (path / "state.json").is_file())


def sweep_up(folder: Path) -> list[Path]:
    """Remove what a killed process left half-written among the checkpoints of a folder; returns what it was."""
    left = sorted(folder.glob(".partial-step-*"))
    left += sorted(path for path in folder.glob("step-*") if not (path / "state.json").is_file())
    for path in left:
        shutil.rmtree(path)
    return left


def latest_checkpoint(run_dir: Path) -> Path:
    """The newest checkpoint of a run.

    Raises:
        UserError: it has none.
    """
    found = list_checkpoints(run_dir / "checkpoints")
    if not found:
        raise UserError(f"{run_dir} has no checkpoint: the run did not get as far as saving one.")
    return found[-1]


def load_weights(checkpoint: Path, model: nn.Module, *, averaged: bool = False) -> None:
    """Put the trained weights and the buffers of a checkpoint into a model of the same configuration.

    `averaged`: the moving average in the place of the trained weights, where the checkpoint has one. Of buffers there
    is no average: they are those of the last step either way, as in `Ema.swapped`.

    Raises:
        UserError: they do not fit.
    """
    here = trained_weights(model) | persistent_buffers(model)
    weights = _read(checkpoint, MODEL, here)
    if averaged and (checkpoint / AVERAGE).is_file():
        weights |= load_average(checkpoint, model)
    with torch.no_grad():
        for name, tensor in here.items():
            tensor.copy_(weights[name])


def load_average(checkpoint: Path, model: nn.Module) -> dict[str, Tensor]:
    """The moving average of the trained weights, by name, for a model of the same configuration.

    Raises:
        UserError: the checkpoint has none, or it does not fit.
    """
    if not (checkpoint / AVERAGE).is_file():
        raise UserError(
            f"{checkpoint} has no {AVERAGE}, which trainer.ema_decay is to go on with; begin a new run by resume=null."
        )
    return _read(checkpoint, AVERAGE, trained_weights(model))


def load_training(
    checkpoint: Path,
    *,
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    scheduler: Any,
    rank: int = 0,
    processes: int = 1,
) -> int:
    """Everything that `save_checkpoint` saved but the average, back in its place; returns the step.

    Raises:
        UserError: it does not fit, or was saved by another number of processes, or without a GPU where there is one.
    """
    state = json.loads((checkpoint / "state.json").read_text(encoding="utf-8"))
    if state["processes"] != processes:
        raise UserError(
            f"{checkpoint} was saved by {state['processes']} processes and cannot be gone on with exactly by "
            f"{processes}; start {state['processes']}."
        )
    load_weights(checkpoint, model)
    tensors = load_file(checkpoint / OPTIMISER)
    random = {name: tensors.pop(name) for name in list(tensors) if name.startswith((RANDOM_STATE, GPU_RANDOM_STATE))}
    torch.set_rng_state(random[f"{RANDOM_STATE}/{rank}"])
    on_gpu = random.get(f"{GPU_RANDOM_STATE}/{rank}")
    if torch.cuda.is_available():
        if on_gpu is None:
            raise UserError(
                f"{checkpoint} was saved without a GPU and cannot be gone on with on one: trainer.device=cpu."
            )
        torch.cuda.set_rng_state(on_gpu)
    positions = {name: index for index, name in enumerate(_names_in_order(optimiser, trained_weights(model)))}
    states: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        name, _, entry = key.rpartition("/")
        states.setdefault(positions[name], {})[entry] = tensor
    optimiser.load_state_dict({"state": states, "param_groups": state["groups"]})
    scheduler.load_state_dict(state["scheduler"])
    return int(state["step"])


def random_states() -> dict[str, Tensor]:
    """Where this process stands in its random numbers, by the device that they are drawn on."""
    states = {RANDOM_STATE: torch.get_rng_state()}
    return states | ({GPU_RANDOM_STATE: torch.cuda.get_rng_state()} if torch.cuda.is_available() else {})


def _save(tensors: Mapping[str, Tensor], file: Path) -> None:
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, file)


def _read(checkpoint: Path, name: str, here: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A file of the checkpoint, which must hold tensors of the names and shapes that there are `here`."""
    found = load_file(checkpoint / name)
    if found.keys() != here.keys():
        odd = sorted(found.keys() ^ here.keys())
        raise UserError(
            f"{checkpoint} is of another model: {len(odd)} weights have no counterpart, {odd[0]} among them."
        )
    for weight, tensor in here.items():
        if tensor.shape != found[weight].shape:
            raise UserError(
                f"{checkpoint} is of another model: {weight} has the shape {tuple(found[weight].shape)} there "
                f"and {tuple(tensor.shape)} here."
            )
    return found


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
