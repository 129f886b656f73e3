"""Checkpoints: the trained weights and what it takes to go on from them, in safetensors and JSON, never in pickles.

A checkpoint folder holds `model.safetensors` (trained weights and persistent buffers by name), `ema.safetensors` (the
moving average of the trained weights by name, where there is one), `optimiser.safetensors` (optimiser state by the
parameter's name, and the random state) and `state.json` (the step, the clips trained on, the number of processes).
The settings of the optimiser and the schedule are the configuration's alone. Processes that hold parts of the weights
write parts: folders `model`, `ema` and `optimiser`, see `shards`.
"""

import json
import os
import shutil
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from vtok.common.distributed import gathered, led
from vtok.common.errors import UserError
from vtok.common.foreign_files import read_mapping
from vtok.common.hashing import stable_hash
from vtok.training.model_tensors import saved_tensors, trained_weights
from vtok.training.optimiser_state import check_tensors, load_state, state_by_name, weight_of
from vtok.training.random_state import CPU, is_random_state, random_states, set_random_states
from vtok.training.sharded_tensors import SUFFIX, flush, is_saved, parts, read, save_cut, save_whole

MODEL, AVERAGE, OPTIMISER = "model", "ema", "optimiser"


def save_checkpoint(
    folder: Path,
    *,
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    step: int,
    samples: int,
    keep: int,
    spare: int | None = None,
    average: Mapping[str, Tensor] | None = None,
    random: Sequence[Mapping[str, Tensor]] | None = None,
    sharded: bool = False,
) -> Path:
    """Write `folder`/step-N, whole or not at all, and remove all but the newest `keep` and that of the step `spare`.

    `samples`: the number of clips that all processes have trained on. `average`: the moving average of the trained
    weights, see `Ema.state`. `random`: the `random_states` of each process by its rank; this one's on the CPU alone
    where None. `sharded`: all processes write together, each its parts.

    Raises:
        UserError: the disk is full, or does not take it for another reason; what was saved before is still there.
    """
    target = checkpoint_of(folder, step)
    partial = folder / f".partial-{target.name}"
    weights = trained_weights(model)
    tensors = state_by_name(optimiser, weights)
    states = [random_states(CPU)] if random is None else random
    tensors |= {f"{name}/{rank}": state for rank, each in enumerate(states) for name, state in each.items()}
    state: dict[str, Any] = {"step": step, "processes": len(states), "samples": samples}
    one_writes: Callable[[Callable[[], object]], object] = led if sharded else lambda action: action()
    save = save_cut if sharded else save_whole
    try:
        one_writes(lambda: _begin(partial))
        save(saved_tensors(model), partial / MODEL)
        if average is not None:
            save(average, partial / AVERAGE)
        save(tensors, partial / OPTIMISER)
        if sharded:
            state["files"] = sorted(set().union(*gathered(parts(partial))))
        one_writes(lambda: _end(partial, target, state))
    except (OSError, SafetensorError) as error:
        one_writes(lambda: shutil.rmtree(partial, ignore_errors=True))
        saved = list_checkpoints(folder)
        rest = f"{saved[-1]} is still there" if saved else "there is none before it"
        raise UserError(
            f"{target}: the checkpoint cannot be written ({error}); {rest}. Make room, and resume."
        ) from error
    one_writes(lambda: _remove_old(folder, keep=keep, spare=spare))
    return target


def checkpoint_of(folder: Path, step: int) -> Path:
    """The place of a step's checkpoint in a folder of them."""
    return folder / f"step-{step:08d}"


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
    here = saved_tensors(model)
    weights = _read(checkpoint, MODEL, here)
    if averaged and is_saved(checkpoint / AVERAGE):
        weights |= load_average(checkpoint, model)
    with torch.no_grad():
        for name, tensor in here.items():
            tensor.copy_(weights[name])


def load_average(checkpoint: Path, model: nn.Module) -> dict[str, Tensor]:
    """The moving average of the trained weights, by name, for a model of the same configuration.

    Raises:
        UserError: the checkpoint has none, or it does not fit.
    """
    if not is_saved(checkpoint / AVERAGE):
        raise UserError(
            f"{checkpoint} has no {AVERAGE}{SUFFIX}, which trainer.ema_decay is to go on with; "
            "begin a new run by resume=null."
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
    other_number: bool = False,
    seed: int = 0,
    device: torch.device = CPU,
) -> int:
    """Everything that `save_checkpoint` saved but the average, back in its place; returns the step.

    Learning rates, weight decay and all other settings stay those that `optimiser` and `scheduler` were just made with;
    the schedule is stepped to where the run stands.

    `other_number`: go on with it though another number of processes saved it; those that were not there draw their
    random numbers from (`seed`, step, rank) on. `device`: that the model is trained on.

    Raises:
        UserError: it does not fit, or was saved by another number of processes, or without a GPU to be trained on one.
    """
    state = read_state(checkpoint)
    if state["processes"] != processes and not other_number:
        raise UserError(
            f"{checkpoint} was saved by {state['processes']} processes and cannot be gone on with exactly by "
            f"{processes}; start {state['processes']}, or say 'resume.allow=[trainer.processes]'."
        )
    load_weights(checkpoint, model)
    weights = trained_weights(model)
    tensors = read(checkpoint / OPTIMISER, like=lambda entry: weights.get(weight_of(entry)))
    check_tensors(checkpoint / OPTIMISER, tensors, weights, processes=state["processes"])
    random = {name: tensors.pop(name) for name in list(tensors) if is_random_state(name)}
    if rank < state["processes"]:
        set_random_states(random, rank, device, checkpoint)
    else:
        torch.manual_seed(stable_hash("process", seed, state["step"], rank))
    load_state(optimiser, tensors, weights)
    with warnings.catch_warnings():
        # The optimiser took these steps before it was saved.
        warnings.filterwarnings("ignore", message=r"Detected call of `lr_scheduler\.step\(\)` before")
        for _ in range(scheduler.last_epoch, state["step"]):
            scheduler.step()
    return int(state["step"])


def read_state(checkpoint: Path) -> dict[str, Any]:
    """What `state.json` says: `step`, `processes`, `samples` (missing in those of earlier versions), and more.

    Raises:
        UserError: it cannot be read, or a part of a checkpoint that several processes wrote is missing.
    """
    file = checkpoint / "state.json"
    state = read_mapping(file)
    for name in ("step", "processes", "samples"):
        value = state.get(name, 0 if name == "samples" else None)
        if type(value) is not int or value < (name == "processes"):
            raise UserError(f"{file}: {name} must be a number of {name}, not {value!r}.")
    files = state.get("files", [])
    if not isinstance(files, list) or not all(isinstance(one, str) for one in files):
        raise UserError(f"{file}: files must be a list of names.")
    missing = [one for one in files if not os.path.isfile(checkpoint / one)]
    if missing:
        raise UserError(f"{checkpoint} is not whole: {missing[0]} is missing; copy all of its folder.")
    return state


def _begin(partial: Path) -> None:
    # Not `whole_folder`: several processes write into it, and it is flushed to the disk before it gets its name.
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)


def _end(partial: Path, target: Path, state: Mapping[str, Any]) -> None:
    """The last file, and the name by which the folder is whole."""
    if not parts(partial).issuperset(state.get("files", ())):
        raise OSError("the processes do not write into one folder: it has to be on a disk that all of them share")
    (partial / "state.json").write_text(json.dumps(state), encoding="utf-8")
    for path in partial.rglob("*"):
        flush(path)
    shutil.rmtree(target, ignore_errors=True)
    partial.replace(target)
    flush(target.parent)


def _remove_old(folder: Path, *, keep: int, spare: int | None) -> None:
    for old in list_checkpoints(folder)[:-keep]:
        if spare is None or old != checkpoint_of(folder, spare):
            shutil.rmtree(old)


def _read(checkpoint: Path, name: str, here: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What the checkpoint has of a name, which must be tensors of the names and shapes that there are `here`."""
    read_state(checkpoint)
    found = read(checkpoint / name, like=here.get)
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
