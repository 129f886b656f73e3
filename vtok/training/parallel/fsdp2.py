"""FSDP2: each process holds a shard of each trained weight, for models that do not fit one device."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.optim import Optimizer

from vtok.common.distributed import full, gathered
from vtok.common.errors import UserError
from vtok.model import VideoLanguageModel
from vtok.training.model_tensors import digest, trained_weights
from vtok.training.parallel.base import Parallel


class Fsdp2(Parallel):
    """torch's `fully_shard` (Zhao et al. 2023, arXiv 2304.11277; its second version) over all processes.

    Weights, gradients, the optimiser's state and the moving average are sharded along the first dimension. A
    transformer block is gathered only while it runs. Trained weights outside of blocks (embeddings, phi_vis, heads) are
    one more group, which is gathered during the full forward and backward pass, so that `forward` may call any module.

    Frozen weights in a block with trained weights (with LoRA) are sharded too. All other frozen weights are replicated:
    they have neither gradients nor optimiser state, and gathering a frozen decoder or backbone twice a step would cost
    more than its memory.

    In bf16 a block's weights are sent as bf16, and gradients are summed in float32. Autocast is the same as without
    FSDP2, because the heads take float32 states. Between the micro-batches of a step (trainer.accumulate) gradients
    stay unsharded, 4 bytes for each trained weight, so that they are exchanged once a step.

    VTok uses torch's FSDP2, because Accelerate's silently falls back to DDP on a CPU.
    """

    name = "FSDP2"
    sharded = True

    def check(self, processes: int) -> None:
        if processes < 2:
            raise UserError(
                "trainer/parallel=fsdp2 needs at least two processes. Start them with "
                "torchrun --nproc_per_node 2 train.py ..., or set trainer/parallel=ddp."
            )

    def place(self, model: VideoLanguageModel, accelerator: Accelerator) -> None:
        for name, tensor in trained_weights(model).items():
            if tensor.ndim == 0:
                raise UserError(
                    f"trainer/parallel=fsdp2: {name} is a single number, which cannot be sharded. "
                    "Use trainer/parallel=ddp."
                )
        if len(set(gathered(digest(trained_weights(model))))) > 1:
            raise UserError(
                "trainer/parallel=fsdp2: the processes do not start with the same weights. "
                "Use the same files and the same versions of torch and transformers for all processes."
            )
        mesh = init_device_mesh(accelerator.device.type, (accelerator.num_processes,))
        half = torch.bfloat16 if accelerator.mixed_precision == "bf16" else None
        # Inputs are not cast: autocast decides which operations run in bf16.
        in_blocks = MixedPrecisionPolicy(param_dtype=half, reduce_dtype=torch.float32, cast_forward_inputs=False)
        blocks = blocks_of(model)
        sharded = {*trained_weights(model).values(), *(weight for block in blocks for weight in block.parameters())}
        replicated = set(model.parameters()) - sharded
        for weight in sharded:
            # Only contiguous weights can be sharded, and some are in channels_last.
            weight.data = weight.data.contiguous()
        for block in blocks:
            fully_shard(block, mesh=mesh, reshard_after_forward=True, mp_policy=in_blocks)
        outside = MixedPrecisionPolicy(reduce_dtype=torch.float32, cast_forward_inputs=False)
        fully_shard(model, mesh=mesh, reshard_after_forward=False, mp_policy=outside, ignored_params=replicated)
        model.to(accelerator.device)
        for part in model.offloaded:
            part.to("cpu")

    def prepare(
        self, accelerator: Accelerator, model: VideoLanguageModel, optimiser: Optimizer
    ) -> tuple[nn.Module, Optimizer]:
        fsdp(model)
        # evaluation_mode sets the precision without wrapping the model in DDP.
        return accelerator.prepare_model(model, device_placement=False, evaluation_mode=True), optimiser

    def gradient_sync(
        self, accelerator: Accelerator, trained: nn.Module, *, last: bool
    ) -> AbstractContextManager[None]:
        fsdp(trained).set_requires_gradient_sync(last)
        fsdp(trained).set_is_last_backward(last)
        return nullcontext()

    def clip(self, accelerator: Accelerator, parameters: Sequence[Tensor], norm: float) -> Tensor:
        return full(nn.utils.clip_grad_norm_(parameters, norm))

    @contextmanager
    def unsharded(self, model: VideoLanguageModel) -> Iterator[None]:
        """See `Parallel.unsharded`.

        All weights are gathered before and sharded again after it. Processes evaluate different numbers of batches, so
        gathering block by block would deadlock. Each process needs memory for the full model in addition to its shards:
        4 bytes for each weight, 2 in blocks in bf16.
        """
        root = fsdp(model)
        groups = [one for one in model.modules() if isinstance(one, FSDPModule)]
        # A run that is resumed at its end has no forward pass before. FSDP would take the first module called for the
        # root.
        root._get_fsdp_state()._lazy_init()
        root.set_reshard_after_forward(False)
        for group in groups:
            group.unshard()
        try:
            yield
        finally:
            # FSDP prefetches blocks in the order of the last calls, which differs between processes.
            root.reset_iter_state()
            for group in groups:
                group.reshard()
                group.set_reshard_after_forward(group is not root, recurse=False)


def fsdp(model: nn.Module) -> FSDPModule:
    """The model as an FSDP module, after `Fsdp2.place`."""
    assert isinstance(model, FSDPModule), "the model was not placed."
    return model


def blocks_of(model: nn.Module) -> list[nn.Module]:
    """The transformer blocks that have trained weights, inner ones first.

    A block is a module of a class that transformers and diffusers do not split.
    """
    names = {name for part in model.modules() for name in getattr(part, "_no_split_modules", None) or ()}
    blocks = [one for one in model.modules() if type(one).__name__ in names]
    return [one for one in reversed(blocks) if any(weight.requires_grad for weight in one.parameters())]
