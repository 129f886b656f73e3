"""The checks of two processes for test_fsdp2.py, started once by torchrun: FOLDER, in which runs.json names runs.

Small models against a full computation first, then the runs, one after the other; at last one process fails.
"""

import json
import logging
import resource
import sys
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, Shard, distribute_tensor

from vtok.common.distributed import full, gathered, rank
from vtok.common.errors import UserError
from vtok.config import compose
from vtok.model import VideoLanguageModel
from vtok.training import train
from vtok.training.checkpoint import list_checkpoints, load_training, save_checkpoint
from vtok.training.ema import Ema
from vtok.training.model_tensors import trained_weights
from vtok.training.optimisers.muon import BatchedMuon
from vtok.training.parallel import Fsdp2

PROCESSES = 2


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last, self.unused = nn.Linear(6, 7), nn.Linear(7, 6), nn.Linear(2, 2)
        self.last.requires_grad_(False)

    def forward(self, states: Tensor) -> Tensor:
        return states + self.last(torch.tanh(self.first(states)))


class Toy(nn.Module):
    """A model with a block that runs twice a step, and other modules that are called directly."""

    _no_split_modules = ("Block",)
    offloaded = ()

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.embedding, self.head, self.unused = nn.Linear(4, 6), nn.Linear(6, 1), nn.Linear(3, 3)
        self.blocks = nn.ModuleList([Block(), Block(), Block()])
        self.frozen = nn.Linear(6, 6).requires_grad_(False)
        self.register_buffer("seen", torch.tensor(5))

    def states(self, values: Tensor) -> Tensor:
        states = self.embedding(values)
        for block in self.blocks:
            states = block(states)
        return self.frozen(states)

    def forward(self, values: Tensor, share: float) -> Tensor:
        """The mean error over rows times their share."""
        errors = self.head(self.states(values)) + self.head(self.states(2 * values)) - 1
        return share * errors.square().mean()


def accelerator(precision: str = "no") -> Accelerator:
    AcceleratorState._reset_state(reset_partial_state=True)
    return Accelerator(cpu=True, mixed_precision=precision)


def placed(precision: str = "no") -> tuple[Fsdp2, Accelerator, Toy]:
    parallel, model, here = Fsdp2(), Toy(), accelerator(precision)
    parallel.place(model, here)
    return parallel, here, model


def gradients(model: nn.Module) -> dict[str, Tensor]:
    return {name: full(weight.grad) for name, weight in trained_weights(model).items() if weight.grad is not None}


def check_gradients(precision: str, rtol: float) -> None:
    """Equal to one process with all rows, for unequal micro-batches, blocks used twice, and unused modules."""
    rows = torch.randn(11, 4, generator=torch.Generator().manual_seed(1))
    micro = [[rows[:2], rows[2:5]], [rows[5:9], rows[9:]]][rank()]
    parallel, here, model = placed(precision)
    trained, _ = parallel.prepare(here, model, torch.optim.SGD(model.parameters()))
    for number, batch in enumerate(micro):
        with parallel.gradient_sync(here, trained, last=number == 1):
            here.backward(trained(batch, PROCESSES * len(batch) / len(rows)))
    alone = Toy()
    with here.autocast():
        loss = alone(rows, 1.0)
    loss.backward()
    expected, found = gradients(alone), gradients(model)
    assert found.keys() == expected.keys()
    assert not any("unused" in name for name in found)
    largest = max(float(gradient.abs().max()) for gradient in expected.values())
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=0, atol=rtol * largest)
    held = {name for name, weight in model.named_parameters() if not isinstance(weight, DTensor)}
    assert held == {"frozen.weight", "frozen.bias"}
    norm = nn.utils.clip_grad_norm_(alone.parameters(), 0.01)
    clipped = parallel.clip(here, list(trained_weights(model).values()), 0.01)
    torch.testing.assert_close(clipped, norm, rtol=rtol, atol=0)
    for name, gradient in gradients(alone).items():
        torch.testing.assert_close(gradients(model)[name], gradient, rtol=0, atol=rtol * 0.01)


def check_whole() -> None:
    """Processes may call modules any number of times, before the first step and between steps."""
    parallel, here, model = placed()
    before = {name: full(weight) for name, weight in trained_weights(model).items()}
    trained, _ = parallel.prepare(here, model, torch.optim.SGD(model.parameters()))
    values = torch.ones(2, 4)
    for _ in range(2):
        with parallel.unsharded(model), torch.no_grad():
            for _ in range(3 * rank()):
                torch.testing.assert_close(model.states(values), Toy().states(values))
        trained(values, 1.0).backward()
    assert all(torch.equal(full(weight), before[name]) for name, weight in trained_weights(model).items())


def check_average() -> None:
    _, _, model = placed()
    alone = Toy()
    averages = Ema(model, decay=0.7), Ema(alone, decay=0.7)
    with torch.no_grad():
        for weights in (trained_weights(model), trained_weights(alone)):
            for weight in weights.values():
                weight.mul_(2).add_(1)
    for average in averages:
        average.update()
    ours, theirs = (average.state() for average in averages)
    for name, tensor in theirs.items():
        assert isinstance(ours[name], DTensor)
        assert torch.equal(full(ours[name]), tensor)
    with averages[0].swapped():
        assert torch.equal(full(model.head.weight), theirs["head.weight"])
    assert torch.equal(full(model.head.weight), alone.head.weight)


def check_muon() -> None:
    _, _, model = placed()
    alone = Toy()
    for one in (model, alone):
        matrices = [weight for weight in trained_weights(one).values() if weight.ndim == 2]
        optimiser = BatchedMuon([{"params": matrices}], lr=0.1, momentum=0.9, weight_decay=0.1)
        for _ in range(2):
            for weight in matrices:
                weight.grad = weight.detach().clone()
            optimiser.step()
    for name, weight in trained_weights(alone).items():
        torch.testing.assert_close(full(trained_weights(model)[name]), weight, rtol=1e-4, atol=1e-5)


def check_muon_on_a_kernel() -> None:
    """A sharded kernel of a convolution, (8, 3, 2, 2), takes the steps of a full one."""
    _, _, model = placed()
    like = next(weight for weight in trained_weights(model).values() if isinstance(weight, DTensor))
    start = torch.randn(8, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    alone = nn.Parameter(start.clone())
    sharded = nn.Parameter(distribute_tensor(start, like.device_mesh, [Shard(0)]))
    for kernel in (alone, sharded):
        optimiser = BatchedMuon([{"params": [kernel]}], lr=0.1, momentum=0.9, weight_decay=0.1)
        for _ in range(2):
            kernel.grad = kernel.detach().clone()
            optimiser.step()
    assert not torch.allclose(alone, start)
    torch.testing.assert_close(full(sharded), alone.detach(), rtol=1e-4, atol=1e-5)


def check_refusals() -> None:
    model = Toy()
    model.scale = nn.Parameter(torch.tensor(1.0))
    with pytest.raises(UserError, match="scale is a single number"):
        Fsdp2().place(model, accelerator())
    with pytest.raises(UserError, match="do not start with the same weights"):
        Fsdp2().place(Toy(seed=rank()), accelerator())


def check_full_disk(folder: Path) -> None:
    """Both processes raise the error of one of them."""
    _, _, model = placed()
    optimiser = torch.optim.AdamW(list(trained_weights(model).values()), lr=0.1)
    scheduler = torch.optim.lr_scheduler.StepLR(optimiser, step_size=2)
    for weight in trained_weights(model).values():
        weight.grad = torch.ones_like(weight)
    optimiser.step()

    def save(step: int) -> None:
        states = gathered({"random_state": torch.get_rng_state()})
        save_checkpoint(
            folder,
            model=model,
            optimiser=optimiser,
            step=step,
            samples=0,
            keep=1,
            random=states,
            sharded=True,
        )

    save(1)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    if rank() == 1:
        resource.setrlimit(resource.RLIMIT_FSIZE, (500, before[1]))
    with pytest.raises(UserError, match=r"step-00000002: the checkpoint cannot be written.*last one is .*00000001"):
        save(2)
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [path.name for path in folder.iterdir()] == ["step-00000001"]
    weights = {name: full(weight) for name, weight in trained_weights(model).items()}
    averages = {weight: full(optimiser.state[weight]["exp_avg"]) for weight in trained_weights(model).values()}
    with torch.no_grad():
        for weight in trained_weights(model).values():
            optimiser.state[weight]["exp_avg"].zero_()
            weight.zero_()
    assert (
        load_training(
            list_checkpoints(folder)[0], model=model, optimiser=optimiser, scheduler=scheduler, rank=rank(), processes=2
        )
        == 1
    )
    for name, weight in trained_weights(model).items():
        assert torch.equal(full(weight), weights[name])
        assert torch.equal(full(optimiser.state[weight]["exp_avg"]), averages[weight])


def fail_in_the_middle() -> None:
    """The second process, in its forward pass, while the first one waits for its weights."""
    compute = VideoLanguageModel.text_scores

    def failing(self, *arguments):
        if rank() == 1:
            raise RuntimeError("the second process fails")
        return compute(self, *arguments)

    VideoLanguageModel.text_scores = failing


def main(folder: Path) -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    accelerator()
    check_gradients("no", rtol=1e-6)
    check_gradients("bf16", rtol=0.03)
    check_whole()
    check_average()
    check_muon()
    check_muon_on_a_kernel()
    check_refusals()
    check_full_disk(folder / "full_disk")
    (folder / f"checked.{rank()}").touch()
    for name, overrides in json.loads((folder / "runs.json").read_text()):
        if name == "failing":
            fail_in_the_middle()
        figures = train(compose(overrides), run_dir=folder / name)
        (folder / f"{name}.{rank()}.json").write_text(json.dumps(figures))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
