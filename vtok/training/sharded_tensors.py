"""Tensors on the disk, in safetensors: whole in one file, or cut into a folder of files, one a process.

Cut ones are written and read by torch's distributed checkpointing in its safetensors format
(`torch.distributed.checkpoint.hf_storage`), which says in each file's header where its slices belong; unlike torch's
own format it has nothing that is pickled. Any number of processes can read what any number has written.
"""

import os
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor
from torch.distributed import checkpoint as distributed
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.tensor import DTensor, distribute_tensor

from vtok.common.errors import UserError
from vtok.common.foreign_files import read_tensors, reason_of

SUFFIX = ".safetensors"
# What torch's reader raises for files that are broken or of something else.
DAMAGED = (
    OSError,
    ValueError,
    KeyError,
    TypeError,
    IndexError,
    AttributeError,
    AssertionError,
    RuntimeError,
    SafetensorError,
    CheckpointException,
)


def save_whole(tensors: Mapping[str, Tensor], place: Path) -> None:
    """Write `place`.safetensors, by one process, of tensors that are not cut."""
    named = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    save_file(named, place.with_suffix(SUFFIX))


def save_cut(tensors: Mapping[str, Tensor], place: Path) -> None:
    """Write the folder `place`, by all processes together, each the parts that it has; of what all have one writes it.

    A process's parts are in memory once more for as long as they are written.

    Raises:
        OSError: on one of the processes; raised by all.
    """
    detached = {name: tensor.detach() for name, tensor in tensors.items()}
    try:
        distributed.save(detached, storage_writer=HuggingFaceStorageWriter(path=str(place), save_distributed=True))
    except CheckpointException as error:
        causes = [cause for cause, _ in error.failures.values()]
        if all(isinstance(cause, OSError | SafetensorError) for cause in causes):
            raise OSError(str(causes[0])) from error
        raise


def parts(folder: Path) -> set[str]:
    """The files of tensors in a folder and those in it, relative to it."""
    return {file.relative_to(folder).as_posix() for file in folder.rglob(f"*{SUFFIX}")}


def flush(path: Path) -> None:
    """Have the system write a file or a folder to the disk now: a rename must not overtake its contents."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def is_saved(place: Path) -> bool:
    """Whether something was saved there, in either way."""
    return place.is_dir() or place.with_suffix(SUFFIX).is_file()


def read(place: Path, *, like: Callable[[str], Tensor | None]) -> dict[str, Tensor]:
    """The tensors that were saved at `place` in either way, by name.

    One for whose name `like` has a tensor that is cut, of its shape, comes cut in the same way, where that is; another
    one is whole and on the CPU.

    Raises:
        UserError: the files cannot be read.
    """
    if not place.is_dir():
        return {name: cut(tensor, like(name)) for name, tensor in read_tensors(place.with_suffix(SUFFIX)).items()}
    try:
        return _read_sharded(place, like)
    except DAMAGED as error:
        raise UserError(
            f"{place}: its safetensors files cannot be read ({reason_of(error)}). Copy the folder again."
        ) from error


def _read_sharded(place: Path, like: Callable[[str], Tensor | None]) -> dict[str, Tensor]:
    reader = HuggingFaceStorageReader(path=str(place))
    found: dict[str, Tensor] = {}
    for name, saved in reader.read_metadata().state_dict_metadata.items():
        assert isinstance(saved, TensorStorageMetadata)
        one, dtype = like(name), saved.properties.dtype
        if isinstance(one, DTensor) and one.shape == saved.size:
            found[name] = torch.empty_like(one, dtype=dtype)
        else:
            found[name] = torch.empty(saved.size, dtype=dtype)
    with warnings.catch_warnings():
        # Each process reads for itself, and that is meant.
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")
        distributed.load(found, storage_reader=reader, no_dist=True)
    return found


def cut(tensor: Tensor, like: Tensor | None) -> Tensor:
    """A whole tensor that all processes have, cut as `like` is where that is cut and of its shape."""
    if not isinstance(like, DTensor) or like.shape != tensor.shape:
        return tensor
    return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements, src_data_rank=None)
