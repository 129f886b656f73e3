import pytest
import torch
from torch import nn

from vtok.training.ema import Ema


def make(dtype: torch.dtype = torch.float32) -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 2)).to(dtype)
    model[2].weight.requires_grad_(False)
    return model


def trained(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in model.named_parameters() if tensor.requires_grad}


def change(model: nn.Module) -> dict[str, torch.Tensor]:
    """Change all weights and buffers, and return a copy of the trained weights."""
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            tensor.copy_(torch.randn(tensor.shape))
    return trained(model)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_the_average_is_the_closed_form_in_fp32(dtype: torch.dtype) -> None:
    model, decay = make(dtype), 0.9
    seen = [trained(model)]
    ema = Ema(model, decay=decay)
    for _ in range(5):
        seen.append(change(model))
        ema.update()
    assert ema.state().keys() == seen[0].keys()
    for name, average in ema.state().items():
        weights = [one[name].double() for one in seen]
        expected = decay**5 * weights[0] + (1 - decay) * sum(
            decay ** (5 - i) * weight for i, weight in enumerate(weights[1:], start=1)
        )
        assert average.dtype == torch.float32
        torch.testing.assert_close(average.double(), expected, rtol=0, atol=1e-6)


def test_small_updates_of_bf16_weights_add_up() -> None:
    model = nn.Linear(1, 1, bias=False).bfloat16()
    nn.init.ones_(model.weight)
    ema = Ema(model, decay=0.999)
    nn.init.constant_(model.weight, 2.0)
    for _ in range(100):
        ema.update()
    assert ema.state()["weight"].item() == pytest.approx(2 - 0.999**100, abs=1e-5)


def test_the_average_changes_only_in_updates() -> None:
    model = make()
    begun, ema = trained(model), Ema(model, decay=0.5)
    change(model)
    for name, average in ema.state().items():
        assert torch.equal(average, begun[name])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_swapped_sets_the_average_and_then_the_same_weights(dtype: torch.dtype) -> None:
    model = make(dtype)
    ema = Ema(model, decay=0.9)
    change(model)
    ema.update()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    average = {name: tensor.to(dtype, copy=True) for name, tensor in ema.state().items()}
    assert not torch.equal(average["0.weight"], before["0.weight"])
    with ema.swapped():
        for name, tensor in model.state_dict().items():
            assert torch.equal(tensor, average.get(name, before[name])), name
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_the_weights_are_back_after_an_exception() -> None:
    model = make()
    ema = Ema(model, decay=0.9)
    before = change(model)

    def fail() -> None:
        with ema.swapped():
            assert not torch.equal(model[0].weight, before["0.weight"])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    for name, tensor in trained(model).items():
        assert torch.equal(tensor, before[name])


def test_a_loaded_average_continues_like_the_saved_one() -> None:
    model = make()
    ema = Ema(model, decay=0.9)
    change(model)
    ema.update()
    state = {name: tensor.clone() for name, tensor in ema.state().items()}
    again = Ema(model, decay=0.9)
    again.load(state)
    change(model)
    for one in (ema, again):
        one.update()
    for name, average in ema.state().items():
        assert torch.equal(average, again.state()[name])
        assert not torch.equal(average, state[name])
