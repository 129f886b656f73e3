"""The tensors of a model that a checkpoint holds, by name, and their digest."""

import hashlib
import json
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from vtok.common.distributed import full


def trained_weights(model: nn.Module) -> dict[str, Tensor]:
    """The parameters that are trained, by name and in the order of their names."""
    return {name: tensor for name, tensor in sorted(model.named_parameters()) if tensor.requires_grad}


def persistent_buffers(model: nn.Module) -> dict[str, Tensor]:
    """What the model remembers beside its parameters, by name and in the order of the names."""
    persistent = model.state_dict().keys()
    return {name: tensor for name, tensor in sorted(model.named_buffers()) if name in persistent}


def saved_tensors(model: nn.Module) -> dict[str, Tensor]:
    """What a checkpoint holds of a model: the trained weights and the persistent buffers, by name."""
    return trained_weights(model) | persistent_buffers(model)


def digest(tensors: Mapping[str, Tensor]) -> str:
    """sha256 over names, types, shapes and bytes, in the order of the names; of sharded ones all processes must ask."""
    total = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        # As JSON, in which no two lists of these are written alike.
        total.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        total.update(full(tensor.detach()).cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()
