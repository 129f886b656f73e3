"""Tensors on the disk, in safetensors: unsharded in one file, or sharded in a folder with a file for each process.

Sharded tensors are written and read by torch's distributed checkpointing in its safetensors format
(`torch.distributed.checkpoint.hf_storage`), which stores the position of each slice in the file's header. Unlike
torch's own format it needs no pickles. Any number of processes can read files of any number of processes.
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
# The errors of torch's reader for broken or unsuitable files.
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


def save_full(tensors: Mapping[str, Tensor], place: Path) -> None:
    """Write tensors that are not sharded to `place`.safetensors; one process calls it."""
    named = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    save_file(named, place.with_suffix(SUFFIX))


def save_sharded(tensors: Mapping[str, Tensor], place: Path) -> None:
    """Write tensors to the folder `place`; all processes call it, and each writes its shards.

    A tensor that is not sharded is written by one process. Each process needs memory for a copy of its shards.

    Raises:
        OSError: a process cannot write; raised by all processes.
    """
    detached = {name: tensor.detach() for name, tensor in tensors.items()}
    try:
        distributed.save(detached, storage_writer=HuggingFaceStorageWriter(path=str(place), save_distributed=True))
    except CheckpointException as error:
        causes = [cause for cause, _ in error.failures.values()]
        if all(isinstance(cause, OSError | SafetensorError) for cause in causes):
            raise OSError(str(causes[0])) from error
        raise


def tensor_files(folder: Path) -> set[str]:
    """The relative paths of the files of tensors in a folder and its subfolders."""
    return {file.relative_to(folder).as_posix() for file in folder.rglob(f"*{SUFFIX}")}


def flush(path: Path) -> None:
    """Flush a file or folder to the disk, so that its contents are there before it is renamed."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def is_saved(place: Path) -> bool:
    """Whether tensors were saved at `place`, sharded or not."""
    return place.is_dir() or place.with_suffix(SUFFIX).is_file()


def read(place: Path, *, like: Callable[[str], Tensor | None]) -> dict[str, Tensor]:
    """The tensors that were saved at `place`, sharded or not, by name.

    If `like(name)` is a sharded tensor of the same shape, the tensor is sharded in the same way on the same device.
    Otherwise it is unsharded and on the CPU.

    Raises:
        UserError: the files cannot be read.
    """
    if not place.is_dir():
        return {name: shard(tensor, like(name)) for name, tensor in read_tensors(place.with_suffix(SUFFIX)).items()}
    try:
        return _read_sharded(place, like)
    except DAMAGED as error:
        raise UserError(
            f"{place}: the safetensors files cannot be read ({reason_of(error)}). Copy the folder again."
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
        # The warning is not relevant: each process reads for itself.
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")
        distributed.load(found, storage_reader=reader, no_dist=True)
    return found


def shard(tensor: Tensor, like: Tensor | None) -> Tensor:
    """Shard a full tensor, which all processes have, in the way of `like`, if that is sharded and of the same shape."""
    if not isinstance(like, DTensor) or like.shape != tensor.shape:
        return tensor
    return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements, src_data_rank=None)
