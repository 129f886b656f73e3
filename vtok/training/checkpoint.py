"""Checkpoints: trained weights and the state to resume from, in safetensors and JSON, never in pickles.

A checkpoint folder has `model.safetensors` (trained weights and persistent buffers by name), `ema.safetensors` (the
moving average of the trained weights, if there is one), `optimiser.safetensors` (optimiser state by parameter name, and
the random state) and `state.json` (step, number of clips trained on, number of processes, running mean of the loss).
Settings of the optimiser and the schedule are not in it: they come from the configuration. Processes with sharded
weights write the folders `model`, `ema` and `optimiser` instead, see `sharded_tensors`.
"""

import json
import math
import os
import shutil
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from vtok.common.distributed import gathered, on_main_process
from vtok.common.errors import UserError
from vtok.common.foreign_files import read_mapping
from vtok.common.hashing import stable_hash
from vtok.training.model_tensors import saved_tensors, trained_weights
from vtok.training.optimiser_state import check_optimiser_state, load_state, state_by_name, weight_of
from vtok.training.random_state import CPU, is_random_state, random_states, set_random_states
from vtok.training.sharded_tensors import SUFFIX, flush, is_saved, read, save_full, save_sharded, tensor_files

MODEL, AVERAGE, OPTIMISER = "model", "ema", "optimiser"


def save_checkpoint(
    folder: Path,
    *,
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    step: int,
    samples: int,
    loss: float = math.inf,
    keep: int,
    keep_step: int | None = None,
    average: Mapping[str, Tensor] | None = None,
    random: Sequence[Mapping[str, Tensor]] | None = None,
    sharded: bool = False,
) -> Path:
    """Write `folder`/step-N atomically, and remove old checkpoints.

    Args:
        folder: folder of the checkpoints.
        model: model whose trained weights and buffers are saved.
        optimiser: optimiser whose state is saved.
        step: number of optimiser steps done.
        samples: number of clips that all processes have trained on.
        loss: running mean of the loss; inf: not known.
        keep: number of the newest checkpoints that are kept.
        keep_step: step of one more checkpoint that is kept.
        average: moving average of the trained weights, see `Ema.state`.
        random: `random_states` of each process by rank; None: this process's, on the CPU.
        sharded: whether all processes write together, each its shards.

    Raises:
        UserError: the checkpoint cannot be written, for example because the disk is full; earlier ones are kept.
    """
    target = checkpoint_of(folder, step)
    partial = folder / f".partial-{target.name}"
    weights = trained_weights(model)
    tensors = state_by_name(optimiser, weights)
    states = [random_states(CPU)] if random is None else random
    tensors |= {f"{name}/{rank}": state for rank, each in enumerate(states) for name, state in each.items()}
    state: dict[str, Any] = {"step": step, "processes": len(states), "samples": samples}
    if math.isfinite(loss):
        state["loss"] = loss
    one_writes: Callable[[Callable[[], object]], object] = on_main_process if sharded else lambda action: action()
    save = save_sharded if sharded else save_full
    try:
        one_writes(lambda: _begin(partial))
        save(saved_tensors(model), partial / MODEL)
        if average is not None:
            save(average, partial / AVERAGE)
        save(tensors, partial / OPTIMISER)
        if sharded:
            state["files"] = sorted(set().union(*gathered(tensor_files(partial))))
        one_writes(lambda: _end(partial, target, state))
    except (OSError, SafetensorError) as error:
        one_writes(lambda: shutil.rmtree(partial, ignore_errors=True))
        saved = list_checkpoints(folder)
        before = f"The last one is {saved[-1]}" if saved else "There is none before it"
        raise UserError(
            f"{target}: the checkpoint cannot be written ({error}). {before}. Free space on the disk, and resume."
        ) from error
    one_writes(lambda: _remove_old(folder, keep=keep, keep_step=keep_step))
    return target


def checkpoint_of(folder: Path, step: int) -> Path:
    """The path of a step's checkpoint in a folder of checkpoints."""
    return folder / f"step-{step:08d}"


def list_checkpoints(folder: Path) -> list[Path]:
    """The complete checkpoints in a folder, oldest first."""
    return sorted(path for path in folder.glob("step-*") if (path / "state.json").is_file())


def remove_unfinished(folder: Path) -> list[Path]:
    """Remove the unfinished checkpoints that a killed process left in a folder, and return their paths."""
    left = sorted(folder.glob(".partial-step-*"))
    left += sorted(path for path in folder.glob("step-*") if not (path / "state.json").is_file())
    for path in left:
        shutil.rmtree(path)
    return left


def latest_checkpoint(run_dir: Path) -> Path:
    """The newest checkpoint of a run.

    Raises:
        UserError: the run has no checkpoint.
    """
    found = list_checkpoints(run_dir / "checkpoints")
    if not found:
        raise UserError(f"{run_dir} has no checkpoint, because its run ended before it saved one. Use another run.")
    return found[-1]


def load_weights(checkpoint: Path, model: nn.Module, *, averaged: bool = False) -> None:
    """Load the trained weights and the buffers of a checkpoint into a model of the same configuration.

    Args:
        checkpoint: checkpoint folder.
        model: model that is changed in place.
        averaged: whether the moving average is loaded instead of the trained weights, if there is one. Buffers have no
            average: they are always those of the last step, as in `Ema.swapped`.

    Raises:
        UserError: the checkpoint does not fit the model.
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
        UserError: the checkpoint has no moving average, or it does not fit the model.
    """
    if not is_saved(checkpoint / AVERAGE):
        raise UserError(
            f"{checkpoint} has no {AVERAGE}{SUFFIX}, which is needed to resume with trainer.ema_decay. "
            "Start a new run: resume=null."
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
    """Load everything that `save_checkpoint` saved except the average, and return the step.

    Learning rates, weight decay and all other settings are those that `optimiser` and `scheduler` were built with. The
    schedule is stepped forward to the checkpoint's step.

    Args:
        checkpoint: checkpoint folder.
        model: model that is changed in place.
        optimiser: optimiser that gets the saved state.
        scheduler: schedule of its learning rate.
        rank: rank of this process.
        processes: number of processes.
        other_number: whether another number of processes may have saved the checkpoint. Additional processes then seed
            their random numbers from (`seed`, step, rank).
        seed: seed of the run.
        device: device that the model is trained on.

    Raises:
        UserError: the checkpoint does not fit, was saved by another number of processes, or has no random state of a
            GPU although `device` is one.
    """
    state = read_state(checkpoint)
    if state["processes"] != processes and not other_number:
        raise UserError(
            f"{checkpoint} was saved by {state['processes']} processes and cannot be resumed exactly by {processes}. "
            f"Start {state['processes']} processes, or set 'resume.allow=[trainer.processes]'."
        )
    load_weights(checkpoint, model)
    weights = trained_weights(model)
    tensors = read(checkpoint / OPTIMISER, like=lambda entry: weights.get(weight_of(entry)))
    check_optimiser_state(checkpoint / OPTIMISER, tensors, weights, processes=state["processes"])
    random = {name: tensors.pop(name) for name in list(tensors) if is_random_state(name)}
    if rank < state["processes"]:
        set_random_states(random, rank, device, checkpoint)
    else:
        torch.manual_seed(stable_hash("process", seed, state["step"], rank))
    load_state(optimiser, tensors, weights)
    with warnings.catch_warnings():
        # The warning is wrong here: the optimiser took these steps before it was saved.
        warnings.filterwarnings("ignore", message=r"Detected call of `lr_scheduler\.step\(\)` before")
        for _ in range(scheduler.last_epoch, state["step"]):
            scheduler.step()
    return int(state["step"])


def read_state(checkpoint: Path) -> dict[str, Any]:
    """The content of `state.json`: `step`, `processes`, `samples`, and more.

    Raises:
        UserError: the file cannot be read, or a file of a sharded checkpoint is missing.
    """
    file = checkpoint / "state.json"
    state = read_mapping(file)
    for name in ("step", "processes", "samples"):
        value = state.get(name)
        if type(value) is not int or value < (name == "processes"):
            raise UserError(f"{file}: {name}={value!r} is not a number of {name}. Copy the checkpoint again.")
    # Checkpoints of older versions have no loss.
    loss = state.get("loss", 0.0)
    if type(loss) not in (int, float) or not math.isfinite(loss):
        raise UserError(f"{file}: loss={loss!r} is not a finite number. Copy the checkpoint again.")
    files = state.get("files", [])
    if not isinstance(files, list) or not all(isinstance(one, str) for one in files):
        raise UserError(f"{file}: files is not a list of names. Copy the checkpoint again.")
    missing = [one for one in files if not os.path.isfile(checkpoint / one)]
    if missing:
        raise UserError(f"{checkpoint} is incomplete: {missing[0]} is missing. Copy all files of the checkpoint.")
    return state


def _begin(partial: Path) -> None:
    # Not `atomic_folder`: several processes write into the folder, and it is flushed to the disk before it is renamed.
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)


def _end(partial: Path, target: Path, state: Mapping[str, Any]) -> None:
    """Write the last file, and rename the folder, which completes the checkpoint."""
    if not tensor_files(partial).issuperset(state.get("files", ())):
        raise OSError("the processes do not write into the same folder, which must be on a shared disk")
    (partial / "state.json").write_text(json.dumps(state), encoding="utf-8")
    for path in partial.rglob("*"):
        flush(path)
    shutil.rmtree(target, ignore_errors=True)
    partial.replace(target)
    flush(target.parent)


def _remove_old(folder: Path, *, keep: int, keep_step: int | None) -> None:
    for old in list_checkpoints(folder)[:-keep]:
        if keep_step is None or old != checkpoint_of(folder, keep_step):
            shutil.rmtree(old)


def _read(checkpoint: Path, name: str, here: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors `name` of a checkpoint, which must have the names and shapes of `here`."""
    read_state(checkpoint)
    found = read(checkpoint / name, like=here.get)
    if found.keys() != here.keys():
        odd = sorted(found.keys() ^ here.keys())
        raise UserError(
            f"{checkpoint} belongs to another model: {len(odd)} weights have no counterpart, such as {odd[0]}. "
            "Use the configuration of the checkpoint's run, and the version of vtok that made it."
        )
    for weight, tensor in here.items():
        if tensor.shape != found[weight].shape:
            raise UserError(
                f"{checkpoint} belongs to another model: {weight} has the shape {tuple(found[weight].shape)} there and "
                f"{tuple(tensor.shape)} here. Use the configuration of the checkpoint's run."
            )
    return found
