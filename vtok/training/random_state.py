"""The random states of a process, as tensors of a checkpoint."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from vtok.common.errors import UserError

CPU = torch.device("cpu")
ON_CPU, ON_GPU = "random_state", "gpu_random_state"


def random_states(device: torch.device) -> dict[str, Tensor]:
    """This process's random state on the CPU and, if `device` is a GPU, on the GPU, by name."""
    states = {ON_CPU: torch.get_rng_state()}
    return states | ({ON_GPU: torch.cuda.get_rng_state(device)} if device.type == "cuda" else {})


def is_random_state(name: str) -> bool:
    """Whether the name of a checkpoint's tensor, NAME/RANK, is that of a random state."""
    return name.rpartition("/")[0] in (ON_CPU, ON_GPU)


def set_random_states(states: Mapping[str, Tensor], rank: int, device: torch.device, checkpoint: Path) -> None:
    """Set the random states of process `rank`, from the `states` named NAME/RANK of a checkpoint.

    Raises:
        UserError: the process trains on a GPU, and the checkpoint was saved on a CPU.
    """
    if device.type == "cuda":
        if (on_gpu := states.get(f"{ON_GPU}/{rank}")) is None:
            raise UserError(
                f"{checkpoint} was saved by a run on the CPU and has no random state of a GPU. "
                "Resume it on the CPU: trainer.device=cpu 'resume.allow=[trainer.device]'."
            )
        torch.cuda.set_rng_state(on_gpu, device)
    torch.set_rng_state(states[f"{ON_CPU}/{rank}"])
