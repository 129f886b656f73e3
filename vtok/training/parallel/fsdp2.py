"""Every process holds a part of each trained weight (FSDP2), for models that do not fit a device as a whole."""

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

    Weights, gradients, the optimiser's state and the moving average are cut along the first dimension, a slice for each
    process. A transformer block is put together for as long as it runs. What is trained outside of blocks (embeddings,
    phi_vis, heads) is one more group, which is together from the first layer of a step to the last: every module of the
    model may so be called within its `forward`.

    What is frozen in a block with trained weights (the weights below LoRA adapters) is cut with them. What is frozen
    elsewhere is whole in every process: it has neither gradient nor optimiser state, and a frozen decoder or backbone
    is cheaper held than sent twice a step.

    In bf16 a block's weights are sent as bf16, half of the bytes, and gradients are summed in float32; operations are
    under the same autocast as without, for the heads take float32 states. Between the micro-batches of a step
    (trainer.accumulate) gradients stay uncut, 4 bytes a trained weight, so that they are exchanged once a step.

    It is torch's own and not Accelerate's, which on a CPU falls back to DDP and says nothing.
    """

    name = "FSDP2"
    sharded = True

    def check(self, processes: int) -> None:
        if processes < 2:
            raise UserError(
                "trainer/parallel=fsdp2: one process has nobody to share a model with; start more by "
                "torchrun --nproc_per_node 2 train.py ..., or say trainer/parallel=ddp."
            )

    def place(self, model: VideoLanguageModel, accelerator: Accelerator) -> None:
        for name, tensor in trained_weights(model).items():
            if tensor.ndim == 0:
                raise UserError(
                    f"trainer/parallel=fsdp2: {name} is a single number, which cannot be cut; say trainer/parallel=ddp."
                )
        if len(set(gathered(digest(trained_weights(model))))) > 1:
            raise UserError(
                "trainer/parallel=fsdp2: the processes do not begin with the same weights; "
                "have all of them read the same files with the same versions of torch and transformers."
            )
        mesh = init_device_mesh(accelerator.device.type, (accelerator.num_processes,))
        half = torch.bfloat16 if accelerator.mixed_precision == "bf16" else None
        # Inputs are left as they are: autocast knows which operations are to be in bf16.
        in_blocks = MixedPrecisionPolicy(param_dtype=half, reduce_dtype=torch.float32, cast_forward_inputs=False)
        blocks = blocks_of(model)
        cut = {*trained_weights(model).values(), *(weight for block in blocks for weight in block.parameters())}
        held = set(model.parameters()) - cut
        for weight in cut:
            # Some are not in the order of their dimensions (channels_last), in which alone they can be cut.
            weight.data = weight.data.contiguous()
        for block in blocks:
            fully_shard(block, mesh=mesh, reshard_after_forward=True, mp_policy=in_blocks)
        around = MixedPrecisionPolicy(reduce_dtype=torch.float32, cast_forward_inputs=False)
        fully_shard(model, mesh=mesh, reshard_after_forward=False, mp_policy=around, ignored_params=held)
        model.to(accelerator.device)
        for part in model.offloaded:
            part.to("cpu")

    def prepare(
        self, accelerator: Accelerator, model: VideoLanguageModel, optimiser: Optimizer
    ) -> tuple[nn.Module, Optimizer]:
        fsdp(model)
        # As for an evaluation: in its precision, but not wrapped by DDP.
        return accelerator.prepare_model(model, device_placement=False, evaluation_mode=True), optimiser

    def exchanging(self, accelerator: Accelerator, trained: nn.Module, *, last: bool) -> AbstractContextManager[None]:
        fsdp(trained).set_requires_gradient_sync(last)
        fsdp(trained).set_is_last_backward(last)
        return nullcontext()

    def clip(self, accelerator: Accelerator, parameters: Sequence[Tensor], norm: float) -> Tensor:
        return full(nn.utils.clip_grad_norm_(parameters, norm))

    @contextmanager
    def whole(self, model: VideoLanguageModel) -> Iterator[None]:
        """See `Parallel.whole`.

        All weights are put together before and cut after: processes evaluate other numbers of batches, and would wait
        for each other in vain over a single block. For as long as it lasts each of them holds the whole model beside
        its part of it: 4 bytes a weight, 2 in the blocks in bf16.
        """
        root = fsdp(model)
        parts = [one for one in model.modules() if isinstance(one, FSDPModule)]
        # Where nothing was called yet, in a run resumed at its end, what is called first would be taken for the root.
        root._get_fsdp_state()._lazy_init()
        root.set_reshard_after_forward(False)
        for part in parts:
            part.unshard()
        try:
            yield
        finally:
            # The order of the blocks that ran, by which the next ones are fetched early, differs between processes.
            root.reset_iter_state()
            for part in parts:
                part.reshard()
                part.set_reshard_after_forward(part is not root, recurse=False)


def fsdp(model: nn.Module) -> FSDPModule:
    """A model that `Fsdp2.place` has cut."""
    assert isinstance(model, FSDPModule), "the model was not placed."
    return model


def blocks_of(model: nn.Module) -> list[nn.Module]:
    """The blocks with anything trained in them, by the classes that transformers and diffusers do not split; inner ones
    first.
    """
    names = {name for part in model.modules() for name in getattr(part, "_no_split_modules", None) or ()}
    blocks = [one for one in model.modules() if type(one).__name__ in names]
    return [one for one in reversed(blocks) if any(weight.requires_grad for weight in one.parameters())]
