"""The processes of a run: checks of their number, and settings that differ between them.

Each process reads its own clips. The first one writes the run folder and the store. `parallel` decides how they share
the model.
"""

import logging
import os
from datetime import timedelta

import torch
from accelerate import Accelerator, DistributedType
from torch import distributed as dist

from vtok.common.errors import UserError
from vtok.common.hashing import stable_hash
from vtok.common.processes import started_processes

log = logging.getLogger("vtok")


def check_launch() -> None:
    """Raise UserError if the environment names several processes, but no launcher has started this one."""
    if (number := started_processes()) > 1 and "LOCAL_RANK" not in os.environ:
        raise UserError(
            f"WORLD_SIZE={number} is set without LOCAL_RANK. Start the processes with torchrun, or unset WORLD_SIZE."
        )


def connect_gpus(timeout: timedelta) -> None:
    """Connect the processes of a run on GPUs: by NCCL for tensors on GPUs, by gloo for numbers on the CPU.

    Accelerate would connect them by NCCL alone. Exchanging a number would then wait for all work of the GPU.

    Raises:
        UserError: this machine has more processes than GPUs.
    """
    if started_processes() > 1 and not dist.is_initialized():
        own, gpus = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
        if own >= gpus:
            raise UserError(f"Process {own} has no GPU: this machine has {gpus}. Use torchrun --nproc_per_node {gpus}.")
        torch.cuda.set_device(own)
        dist.init_process_group("cpu:gloo,cuda:nccl", timeout=timeout)


def check_number(number: int, *, wanted: int | None) -> None:
    """Raise UserError if the number of processes is not the one that is `wanted`.

    `accelerate launch --cpu --num_processes 2` starts one process without a warning.
    """
    if wanted is not None and number != wanted:
        raise UserError(
            f"trainer.processes={wanted}: {number} {'process was' if number == 1 else 'processes were'} started. "
            f"Start them with torchrun --nproc_per_node {wanted} train.py ..., or set trainer.processes=null."
        )


def set_up_process(accelerator: Accelerator, *, seed: int, sharing: str) -> None:
    """Log the number of processes, silence all but the first, and seed dropout and noise differently in each.

    Args:
        accelerator: device and processes.
        seed: seed of the run.
        sharing: name of the way in which processes share the model, for the log.

    Raises:
        UserError: each process trains alone, or Accelerate is set to share the model in its own way.
    """
    number = accelerator.num_processes
    if number != started_processes():
        raise UserError(
            f"{started_processes()} processes were started, but each trains alone. "
            "Check the settings of accelerate launch, or use torchrun."
        )
    if accelerator.distributed_type in (
        DistributedType.FSDP,
        DistributedType.DEEPSPEED,
        DistributedType.MEGATRON_LM,
    ):
        raise UserError(
            f"accelerate launch is set to {accelerator.distributed_type.value}, which VTok does not use. "
            "Remove that setting or use torchrun, and set trainer/parallel=ddp or fsdp2."
        )
    if number == 1:
        return
    if accelerator.is_main_process:
        log.info("%d processes (%s over %s)", number, sharing, torch.distributed.get_backend())
        return
    log.setLevel(logging.WARNING)
    # The first process keeps the seed of the run, as a single process does.
    torch.manual_seed(stable_hash("process", seed, accelerator.process_index))
