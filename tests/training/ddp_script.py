"""The checks of two processes for test_ddp.py, started once by torchrun: FOLDER, which all of them share.

Every objective with every head and decoder takes two steps; the second is where DDP finds gradients missing.
"""

import sys
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs
from torch import Tensor

from tests.model.test_freezing import combinations, make_batch, make_decoders, make_model
from vtok.common.distributed import gathered, gathered_tensors, on_main_process, rank
from vtok.model.token_scale import TokenScale
from vtok.training.parallel import Ddp

KIND = torch.tensor([0, 0, 1])


def take_steps(accelerator: Accelerator, folder: Path) -> None:
    decoders = make_decoders(folder / str(rank()))
    for lambdas, head, decoder in combinations():
        model = make_model(lambdas, head, decoders[decoder]).train()
        optimiser = torch.optim.SGD([one for one in model.parameters() if one.requires_grad], lr=0.1)
        parallel = Ddp()
        parallel.place(model, accelerator)
        trained, optimiser = parallel.prepare(accelerator, model, optimiser)
        assert not trained.broadcast_buffers
        for step in range(2):
            # Other clips, and other noise levels, in each process.
            torch.manual_seed(10 * step + rank())
            with parallel.gradient_sync(accelerator, trained, last=True):
                accelerator.backward(trained(make_batch(model))["loss"])
            model.end_step()
            optimiser.step()
            optimiser.zero_grad()
        state = torch.cat([one.detach().float().flatten() for one in model.state_dict().values()])
        mine, other = gathered_tensors(state)
        assert torch.equal(mine, other), (lambdas, head, decoder)


def leave_what_is_offloaded(accelerator: Accelerator, folder: Path) -> None:
    """Tensors on the CPU could not be sent between GPUs."""
    decoder = make_decoders(folder / f"offload{rank()}")["hunyuan_video, offloaded"]
    model = make_model((0.0, 0.0, 1.0), "none", decoder)
    trained, _ = Ddp().prepare(accelerator, model, torch.optim.SGD(model.parameters()))
    names = {f"decoder.{part}.{name}" for part in ("vae", "transformer") for name in parts(model, part)}
    assert names <= set(trained.parameters_to_ignore)
    assert not {name for name, one in model.named_parameters() if one.requires_grad} & set(trained.parameters_to_ignore)


def parts(model: torch.nn.Module, name: str) -> set[str]:
    part = model.get_submodule(f"decoder.{name}")
    return {name for name, _ in (*part.named_parameters(), *part.named_buffers())}


def measure() -> None:
    """Two processes with other numbers of tokens are one with all of them; one may have none at all."""
    tokens = torch.randn(5, 3, 4, generator=torch.Generator().manual_seed(0)) * 3 + 100
    whole, shared = moments(tokens), TokenScale(4)
    own = tokens[:2] if rank() == 0 else tokens[2:]
    shared.add(own, KIND, torch.ones(len(own), 3, dtype=torch.bool))
    shared.update()
    torch.testing.assert_close((shared.mean, shared.spread), whole)
    assert shared.seen.tolist() == [1, 1]
    alone = TokenScale(4)
    if rank() == 0:
        alone.add(tokens, KIND, torch.ones(5, 3, dtype=torch.bool))
    alone.update()
    torch.testing.assert_close((alone.mean, alone.spread), whole)
    assert gathered(rank()) == [0, 1]


def moments(tokens: Tensor) -> tuple[Tensor, Tensor]:
    parts = [tokens[:, kind == KIND].flatten(0, 1) for kind in (0, 1)]
    return torch.stack([one.mean(0) for one in parts]), torch.stack([one.std(0, correction=0) for one in parts])


if __name__ == "__main__":
    accelerator = Accelerator(cpu=True, kwargs_handlers=[DistributedDataParallelKwargs(broadcast_buffers=False)])
    folder = Path(sys.argv[1])
    measure()
    leave_what_is_offloaded(accelerator, folder)
    take_steps(accelerator, folder)
    on_main_process(lambda: (folder / "done").touch())
    torch.distributed.destroy_process_group()
