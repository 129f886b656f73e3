import resource
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from vtok.common.errors import UserError
from vtok.model.token_scale import TokenScale
from vtok.training.checkpoint import (
    latest_checkpoint,
    list_checkpoints,
    load_average,
    load_training,
    load_weights,
    remove_unfinished,
    save_checkpoint,
)
from vtok.training.model_tensors import digest, trained_weights


def make(
    seed: int = 0, width: int = 3
) -> tuple[nn.Module, torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(4, width), nn.Linear(width, 2), nn.Dropout(0.5))
    model[1].weight.requires_grad_(False)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW([{"params": trained[:1]}, {"params": trained[1:], "weight_decay": 0.0}], lr=0.1)
    return model, optimiser, torch.optim.lr_scheduler.StepLR(optimiser, step_size=2, gamma=0.5)


def steps(model, optimiser, scheduler, number: int) -> None:
    for _ in range(number):
        model(torch.randn(5, 4)).pow(2).sum().backward()
        optimiser.step()
        scheduler.step()
        optimiser.zero_grad()


class Remembering(nn.Module):
    """Weights, persistent buffers, and one that is not."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)
        self.scale = TokenScale(5)
        self.register_buffer("passing", torch.ones(()), persistent=False)


def save(folder: Path, model: nn.Module, *, average: dict[str, torch.Tensor] | None = None) -> Path:
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    return save_checkpoint(folder, model=model, optimiser=optimiser, samples=0, step=1, keep=1, average=average)


def test_training_resumes_bit_for_bit(tmp_path: Path) -> None:
    whole = make()
    steps(*whole, 3)
    saved = save_checkpoint(tmp_path, model=whole[0], optimiser=whole[1], samples=0, step=3, keep=1)
    steps(*whole, 4)
    again = make(seed=9)
    again[0][1].weight.data.copy_(whole[0][1].weight)
    assert load_training(saved, model=again[0], optimiser=again[1], scheduler=again[2]) == 3
    steps(*again, 4)
    for name, tensor in whole[0].state_dict().items():
        assert torch.equal(tensor, again[0].state_dict()[name]), name
    assert whole[2].get_last_lr() == again[2].get_last_lr()


def test_only_what_is_trained_is_saved_and_nothing_is_pickled(tmp_path: Path) -> None:
    model, optimiser, scheduler = make()
    steps(model, optimiser, scheduler, 1)
    saved = save_checkpoint(tmp_path, model=model, optimiser=optimiser, samples=0, step=1, keep=1)
    assert sorted(path.name for path in saved.iterdir()) == ["model.safetensors", "optimiser.safetensors", "state.json"]
    weights = load_file(saved / "model.safetensors")
    assert list(weights) == ["0.bias", "0.weight", "1.bias"]
    assert digest(trained_weights(model)) == digest(weights)


def test_persistent_buffers_are_saved_and_loaded(tmp_path: Path) -> None:
    scale, again = Remembering(), Remembering()
    scale.scale.add(torch.randn(2, 6, 5), torch.tensor([0, 0, 0, 1, 1, 1]), torch.ones(2, 6, dtype=torch.bool))
    scale.scale.update()
    load_weights(save(tmp_path, scale), again)
    assert not torch.equal(scale.scale.mean, torch.zeros(2, 5))
    assert again.scale.seen.tolist() == [1, 1]
    for name, tensor in scale.scale.state_dict().items():
        assert torch.equal(tensor, again.scale.state_dict()[name]), name
        assert tensor.dtype == again.scale.state_dict()[name].dtype
    assert again.passing.item() == 1, "a buffer that is not persistent is of the model, not of the checkpoint"


def test_the_average_is_saved_and_loaded_on_request(tmp_path: Path) -> None:
    model, again = Remembering(), Remembering()
    model.passing.fill_(2)
    model.scale.mean.fill_(3)
    average = {"layer.bias": torch.full((2,), 7.0), "layer.weight": torch.full((2, 2), 8.0)}
    saved = save(tmp_path, model, average=average)
    assert sorted(load_file(saved / "ema.safetensors")) == ["layer.bias", "layer.weight"]
    for name, tensor in load_average(saved, model).items():
        assert torch.equal(tensor, average[name])
    load_weights(saved, again, averaged=True)
    assert torch.equal(again.layer.weight, average["layer.weight"])
    assert torch.equal(again.layer.bias, average["layer.bias"])
    assert torch.equal(again.scale.mean, torch.full((2, 5), 3.0)), "buffers have no average"
    load_weights(saved, again)
    assert torch.equal(again.layer.weight, model.layer.weight)


def test_without_an_average_the_weights_are_loaded_and_resuming_the_average_is_refused(tmp_path: Path) -> None:
    model, again = Remembering(), Remembering()
    saved = save(tmp_path, model)
    load_weights(saved, again, averaged=True)
    assert torch.equal(again.layer.weight, model.layer.weight)
    with pytest.raises(UserError, match=r"has no ema.safetensors, which is needed to resume with trainer.ema_decay"):
        load_average(saved, model)


def test_the_average_is_rounded_to_the_precision_of_the_weights(tmp_path: Path) -> None:
    model = Remembering().bfloat16()
    average = {name: tensor.float() + 1e-4 for name, tensor in trained_weights(model).items()}
    again = Remembering().bfloat16()
    load_weights(save(tmp_path, model, average=average), again, averaged=True)
    assert torch.equal(again.layer.weight, average["layer.weight"].bfloat16())


def test_an_average_of_another_model_is_refused(tmp_path: Path) -> None:
    model = Remembering()
    odd = save(tmp_path, model, average={"layer.weight": torch.zeros(2, 2)})
    with pytest.raises(UserError, match=r"1 weights have no counterpart, such as layer\.bias"):
        load_weights(odd, model, averaged=True)
    wide = save(tmp_path, model, average={"layer.weight": torch.zeros(2, 3), "layer.bias": torch.zeros(2)})
    before = model.layer.weight.detach().clone()
    with pytest.raises(UserError, match=r"layer\.weight has the shape \(2, 3\) there and \(2, 2\) here"):
        load_weights(wide, model, averaged=True)
    assert torch.equal(model.layer.weight, before)


def test_the_newest_are_kept_and_half_written_ones_ignored(tmp_path: Path) -> None:
    model, optimiser, _ = make()
    folder = tmp_path / "checkpoints"
    for step in (1, 2, 10):
        save_checkpoint(folder, model=model, optimiser=optimiser, samples=0, step=step, keep=2)
    assert [path.name for path in list_checkpoints(folder)] == ["step-00000002", "step-00000010"]
    (folder / "step-00000011").mkdir()
    (folder / ".partial-step-00000012").mkdir()
    assert latest_checkpoint(tmp_path).name == "step-00000010"
    with pytest.raises(UserError, match="has no checkpoint"):
        latest_checkpoint(tmp_path / "elsewhere")


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    model, optimiser, _ = make()
    saved = save_checkpoint(tmp_path, model=model, optimiser=optimiser, samples=0, step=1, keep=1)
    with pytest.raises(UserError, match=r"0.bias has the shape \(3,\) there and \(5,\) here"):
        load_weights(saved, make(width=5)[0])
    with pytest.raises(UserError, match="have no counterpart"):
        load_weights(saved, nn.Linear(4, 3))


def test_the_digest_depends_on_every_weight() -> None:
    weights = {"a": torch.zeros(2), "b": torch.ones(3, 4).bfloat16(), "scalar": torch.tensor(3.0)}
    same = {"scalar": weights["scalar"], "b": weights["b"].t().contiguous().t(), "a": weights["a"]}
    assert digest(weights) == digest(same)
    others = [
        same | {"b": weights["b"].reshape(4, 3)},
        same | {"a": torch.zeros(2, dtype=torch.int32)},
        {{"a": "c"}.get(name, name): tensor for name, tensor in same.items()},
        {"a": torch.zeros(1), "a2": torch.zeros(1), "b": same["b"], "scalar": same["scalar"]},
    ]
    weights["b"][2, 3] = 2
    assert len({digest(one) for one in (same, weights, *others)}) == 1 + 1 + len(others)


def test_a_full_disk_loses_nothing_that_was_saved(tmp_path: Path) -> None:
    model, optimiser, scheduler = make(width=3000)
    steps(model, optimiser, scheduler, 1)
    keep = partial(save_checkpoint, tmp_path, model=model, optimiser=optimiser, samples=0, keep=1)
    keep(step=1)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    # A limit on the file size gives the same error as a full disk, with another number.
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        with pytest.raises(UserError, match=r"step-00000002: the checkpoint cannot be written.*last one is .*00000001"):
            keep(step=2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]
    load_weights(tmp_path / "step-00000001", model)


def test_unfinished_checkpoints_of_a_killed_process_are_removed(tmp_path: Path) -> None:
    model = Remembering()
    whole = save(tmp_path, model)
    (tmp_path / ".partial-step-00000002").mkdir()
    (tmp_path / "step-00000003").mkdir()
    (tmp_path / "step-00000003" / "model.safetensors").write_bytes(b"half")
    assert list_checkpoints(tmp_path) == [whole]
    assert [path.name for path in remove_unfinished(tmp_path)] == [".partial-step-00000002", "step-00000003"]
    assert list(tmp_path.iterdir()) == [whole]


def test_the_checkpoint_of_keep_step_is_kept_beside_the_newest(tmp_path: Path) -> None:
    model, optimiser, scheduler = make()
    steps(model, optimiser, scheduler, 1)
    for step in range(1, 6):
        save_checkpoint(tmp_path, model=model, optimiser=optimiser, samples=0, step=step, keep=2, keep_step=2)
    assert [path.name[-1] for path in list_checkpoints(tmp_path)] == ["2", "4", "5"]
