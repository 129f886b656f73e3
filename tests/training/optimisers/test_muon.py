"""Muon and AdamW as one optimiser, against torch's two optimisers stepped side by side.

torch's Muon rounds matrices to bf16 on the way; where it is the truth, it is made to keep float32 as ours does.
"""

from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import Tensor, nn
from transformers import get_scheduler

from vtok.config import compose
from vtok.model.build import build_model, parameter_groups
from vtok.training.checkpoint import load_training, save_checkpoint
from vtok.training.optimisers import MuonAdamW, muon

LR, HIDDEN_LR = 3e-3, 2e-2


@pytest.fixture(autouse=True)
def _float32(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "in_bf16" not in request.fixturenames:
        monkeypatch.setattr(Tensor, "bfloat16", lambda tensor: tensor.float().clone())


def make(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 4), nn.Tanh(), nn.Linear(4, 2))


def groups(model: nn.Module) -> list[dict[str, object]]:
    """The matrices are hidden but the last, the biases have no weight decay: both kinds have settings of their own."""
    return [
        {"params": [model[0].weight, model[2].weight], "hidden": True, "weight_decay": 0.1},
        {"params": [model[4].weight]},
        {"params": [model[0].bias, model[2].bias, model[4].bias], "weight_decay": 0.0},
    ]


def optimise(model: nn.Module) -> MuonAdamW:
    return MuonAdamW(groups(model), lr=LR, hidden_lr=HIDDEN_LR, momentum=0.9, betas=[0.8, 0.95], weight_decay=0.02)


def separate(model: nn.Module) -> list[torch.optim.Optimizer]:
    hidden, last, biases = groups(model)
    return [
        torch.optim.Muon([hidden], lr=HIDDEN_LR, momentum=0.9, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW([last, biases], lr=LR, betas=(0.8, 0.95), weight_decay=0.02),
    ]


def loss_of(model: nn.Module, step: int) -> Tensor:
    inputs = torch.randn(5, 6, generator=torch.Generator().manual_seed(step))
    return (model(inputs) - inputs[:, :2]).square().mean()


def train(model: nn.Module, optimisers: list[torch.optim.Optimizer], schedules: list, *, first: int, last: int) -> None:
    for step in range(first, last):
        loss_of(model, step).backward()
        for one in (*optimisers, *schedules):
            one.step()
        for one in optimisers:
            one.zero_grad()


def assert_same(one: nn.Module, other: nn.Module) -> None:
    """Equal up to rounding, because batched products are summed in another order."""
    for name, tensor in one.state_dict().items():
        torch.testing.assert_close(tensor, other.state_dict()[name], atol=1e-6, rtol=1e-5, msg=name)


def test_steps_equal_those_of_two_separate_optimisers() -> None:
    model, other = make(), make()
    train(model, [optimise(model)], [], first=0, last=6)
    train(other, separate(other), [], first=0, last=6)
    assert_same(model, other)
    begun = make().state_dict()
    assert all(not torch.equal(tensor, begun[name]) for name, tensor in model.state_dict().items())


def test_a_kernel_is_stepped_as_the_matrix_that_it_is() -> None:
    """A convolution over one place is a linear layer: both take the same steps, in any layout of memory."""
    torch.manual_seed(0)
    kernel = nn.Conv2d(3, 8, kernel_size=2, bias=False).to(memory_format=torch.channels_last)
    linear = nn.Linear(12, 8, bias=False)
    with torch.no_grad():
        linear.weight.copy_(kernel.weight.flatten(1))
    for layer, outputs in ((kernel, lambda x: kernel(x).flatten(1)), (linear, lambda x: linear(x.flatten(1)))):
        optimiser = MuonAdamW([{"params": layer.parameters(), "hidden": True}], hidden_lr=HIDDEN_LR)
        for step in range(4):
            inputs = torch.randn(5, 3, 2, 2, generator=torch.Generator().manual_seed(step))
            outputs(inputs).square().mean().backward()
            optimiser.step()
            optimiser.zero_grad()
    torch.testing.assert_close(kernel.weight.flatten(1), linear.weight, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("in_bf16", [False, True])
@pytest.mark.parametrize("shape", [(2, 24, 24), (3, 16, 40), (1, 40, 16)])
def test_directions_are_kept_and_sizes_become_those_of_the_polynomial(
    in_bf16: bool, shape: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against the singular value decomposition, whether or not the CPU has instructions for bf16."""
    monkeypatch.setattr(muon, "cpu_multiplies_bf16", lambda: in_bf16)
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    update = muon.orthogonal(matrices)
    assert update.dtype == (torch.bfloat16 if in_bf16 else torch.float32)
    left, sizes, right = torch.linalg.svd(matrices, full_matrices=False)
    sizes = sizes / sizes.square().sum(dim=1, keepdim=True).sqrt()
    for _ in range(5):
        sizes = 3.4445 * sizes - 4.7750 * sizes**3 + 2.0315 * sizes**5
    expected = left @ torch.diag_embed(sizes) @ right
    torch.testing.assert_close(update.float(), expected, atol=0.02 if in_bf16 else 1e-5, rtol=0)


def test_a_schedule_changes_both_rates_in_proportion() -> None:
    model, other = make(), make()
    optimiser = optimise(model)
    schedule = get_scheduler("cosine", optimizer=optimiser, num_warmup_steps=2, num_training_steps=8)
    ours = [(group["lr"], group["initial_lr"]) for group in optimiser.param_groups]
    assert [initial for _, initial in ours] == [HIDDEN_LR, LR, LR]
    pair = separate(other)
    schedules = [get_scheduler("cosine", optimizer=one, num_warmup_steps=2, num_training_steps=8) for one in pair]
    for step in range(7):
        train(model, [optimiser], [schedule], first=step, last=step + 1)
        train(other, pair, schedules, first=step, last=step + 1)
        shares = [group["lr"] / group["initial_lr"] for group in optimiser.param_groups]
        assert shares == pytest.approx([schedules[0].get_last_lr()[0] / HIDDEN_LR] * 3)
    assert_same(model, other)


def test_training_resumes_bit_for_bit(tmp_path: Path) -> None:
    def all_of(model: nn.Module) -> tuple[nn.Module, MuonAdamW, torch.optim.lr_scheduler.LRScheduler]:
        optimiser = optimise(model)
        return model, optimiser, get_scheduler("linear", optimizer=optimiser, num_warmup_steps=0, num_training_steps=9)

    model, optimiser, schedule = all_of(make())
    train(model, [optimiser], [schedule], first=0, last=3)
    saved = save_checkpoint(tmp_path, model=model, optimiser=optimiser, samples=0, step=3, keep=1)
    train(model, [optimiser], [schedule], first=3, last=7)
    again, other, its_schedule = all_of(make(seed=9))
    assert load_training(saved, model=again, optimiser=other, scheduler=its_schedule) == 3
    train(again, [other], [its_schedule], first=3, last=7)
    assert all(torch.equal(tensor, again.state_dict()[name]) for name, tensor in model.state_dict().items())
    ours, theirs = optimiser.state_dict()["state"], other.state_dict()["state"]
    assert ours.keys() == theirs.keys()
    for index, entries in ours.items():
        assert all(torch.equal(tensor, theirs[index][name]) for name, tensor in entries.items())


def test_muon_gets_the_matrices_of_linear_layers_and_kernels_alone(tiny_settings: list[str]) -> None:
    config = compose([*tiny_settings, "objective=joint", "tokeniser=resampler", "tokeniser.width=32", "optimiser=muon"])
    model = build_model(config)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    hidden, others, vectors = ([names[id(one)] for one in group["params"]] for group in parameter_groups(model))
    assert {"tokeniser.place", "tokeniser.queries", "decoder.sketch.latents"} <= set(others)
    tables = {names[id(one)] for table in model.mllm.vocabulary_layers() for one in table.parameters()}
    assert tables <= set(others)
    assert "tokeniser.layers.0.self_attn.in_proj_weight" in hidden
    linear = {f"{name}.weight" for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    kernels = {f"{name}.weight" for name, module in model.named_modules() if isinstance(module, nn.Conv2d)}
    assert len(kernels & trained) >= 4
    attention = {name for name in hidden if name.endswith("in_proj_weight")}
    assert ((linear | kernels) & trained) - tables == set(hidden) - attention
    assert {*hidden, *others, *vectors} == trained


@pytest.mark.parametrize("hidden", [True, False])
def test_groups_of_one_kind_are_accepted(hidden: bool) -> None:
    model, other = nn.Linear(6, 2, bias=False), nn.Linear(6, 2, bias=False)
    other.load_state_dict(model.state_dict())
    optimiser = MuonAdamW([{"params": model.parameters(), "hidden": hidden}], lr=LR, hidden_lr=HIDDEN_LR)
    alone = (
        torch.optim.Muon(other.parameters(), lr=HIDDEN_LR, weight_decay=0.2, adjust_lr_fn="match_rms_adamw")
        if hidden
        else torch.optim.AdamW(other.parameters(), lr=LR, betas=(0.9, 0.98), weight_decay=0.2)
    )
    train(model, [optimiser], [], first=0, last=3)
    train(other, [alone], [], first=0, last=3)
    assert_same(model, other)


def test_parameters_without_gradient_do_not_change() -> None:
    model = make()
    optimiser = optimise(model)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    loss_of(model, 0).backward()
    left = {"2.weight": model[2].weight, "4.weight": model[4].weight}
    for parameter in left.values():
        parameter.grad = None
    optimiser.step()
    unchanged = {name for name, tensor in model.state_dict().items() if torch.equal(tensor, before[name])}
    assert unchanged == left.keys()
    assert all(parameter not in optimiser.state for parameter in left.values())
    optimiser.zero_grad()
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_closure_is_called_once_and_with_gradients() -> None:
    model, other = make(), make()
    optimiser, calls = optimise(model), []

    def closure() -> float:
        optimiser.zero_grad()
        loss = loss_of(model, 0)
        loss.backward()
        calls.append(loss.item())
        return calls[-1]

    assert optimiser.step(closure) == calls[0]
    assert len(calls) == 1
    train(other, [optimise(other)], [], first=0, last=1)
    assert_same(model, other)


def test_accelerate_wraps_it_after_a_schedule_was_made_as_the_trainer_does() -> None:
    model, other = make(), make()
    optimiser, pair = optimise(model), separate(other)
    schedule, *schedules = (
        get_scheduler("linear", optimizer=one, num_warmup_steps=0, num_training_steps=5) for one in (optimiser, *pair)
    )
    # Accelerate keeps one state a process, and other tests may have left theirs.
    AcceleratorState._reset_state(reset_partial_state=True)
    accelerator = Accelerator(cpu=True)
    wrapped, accelerated = accelerator.prepare(model, optimiser)
    for step in range(4):
        accelerator.backward(loss_of(wrapped, step))
        accelerated.step()
        schedule.step()
        accelerated.zero_grad()
    train(other, pair, schedules, first=0, last=4)
    assert_same(model, other)
    assert get_scheduler("constant", optimizer=accelerated).get_last_lr() == [
        group["initial_lr"] for group in optimiser.param_groups
    ]


def test_a_hidden_group_must_have_only_matrices() -> None:
    with pytest.raises(ValueError, match="matrices and kernels"):
        MuonAdamW([{"params": [nn.Parameter(torch.zeros(3))], "hidden": True}], lr=LR, hidden_lr=HIDDEN_LR)
