"""The processes of a run: whether they are as many as they should be, and what each does differently.

Each reads clips of its own; the first one writes the run folder and the store. How they share the model is said in
`parallel`.
"""

import logging
import os

import torch
from accelerate import Accelerator, DistributedType

from vtok.common.errors import UserError
from vtok.common.hashing import stable_hash

log = logging.getLogger("vtok")


def started_processes() -> int:
    """How many processes torchrun or `accelerate launch` says it has started."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def check_number(number: int, *, wanted: int | None) -> None:
    """Raise UserError if the number of processes is not the one that is `wanted`.

    `accelerate launch --cpu --num_processes 2` starts one process and reports nothing.
    """
    if wanted is not None and number != wanted:
        raise UserError(
            f"trainer.processes={wanted}, but {number} {'runs' if number == 1 else 'run'}; start them by "
            f"torchrun --nproc_per_node {wanted} train.py ..., or say trainer.processes=null."
        )


def settle(accelerator: Accelerator, *, seed: int, sharing: str) -> None:
    """Say what runs, have all processes but the first be quiet, and give each dropout and noise of its own.

    `sharing`: how processes share the model, for a person.

    Raises:
        UserError: the processes train alone, or are to share the model in a way of Accelerate's.
    """
    number = accelerator.num_processes
    if number != started_processes():
        raise UserError(
            f"{started_processes()} processes were started, but each trains alone; "
            "look at the settings of accelerate launch, or use torchrun."
        )
    if accelerator.distributed_type in (
        DistributedType.FSDP,
        DistributedType.DEEPSPEED,
        DistributedType.MEGATRON_LM,
    ):
        raise UserError(
            f"accelerate launch was told to use {accelerator.distributed_type.value}; how processes share the model is "
            "said by trainer/parallel=ddp|fsdp2 here: launch without it, or use torchrun."
        )
    if number == 1:
        return
    if accelerator.is_main_process:
        log.info("%d processes (%s over %s)", number, sharing, torch.distributed.get_backend())
        return
    log.setLevel(logging.WARNING)
    # The first one goes on from the seed of the run, as it does alone.
    torch.manual_seed(stable_hash("process", seed, accelerator.process_index))
