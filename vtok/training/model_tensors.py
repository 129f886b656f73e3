"""The tensors of a model that are saved in a checkpoint, and their digest."""

import hashlib
import json
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from vtok.common.distributed import full


def trained_weights(model: nn.Module) -> dict[str, Tensor]:
    """The trained parameters by name, in alphabetical order."""
    return {name: tensor for name, tensor in sorted(model.named_parameters()) if tensor.requires_grad}


def persistent_buffers(model: nn.Module) -> dict[str, Tensor]:
    """The persistent buffers by name, in alphabetical order."""
    persistent = model.state_dict().keys()
    return {name: tensor for name, tensor in sorted(model.named_buffers()) if name in persistent}


def saved_tensors(model: nn.Module) -> dict[str, Tensor]:
    """The trained weights and persistent buffers by name, which a checkpoint holds."""
    return trained_weights(model) | persistent_buffers(model)


def digest(tensors: Mapping[str, Tensor]) -> str:
    """sha256 over names, types, shapes and bytes. If tensors are sharded, all processes must call it."""
    total = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        # As JSON, which is unambiguous.
        total.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        total.update(full(tensor.detach()).cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()
