"""Only the adapters are trained, saved and resumed."""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from vtok.common.errors import UserError
from vtok.config import check, compose
from vtok.mllm import CausalLanguageModel, Lora
from vtok.model.build import build
from vtok.training.checkpoint import latest_checkpoint, load_training, save_checkpoint
from vtok.training.model_tensors import trained_weights

Save = Callable[..., Path]
SETTINGS = {"rank": 4, "alpha": 8, "dropout": 0.25}


def make_training(
    folder: Path, lora: Lora | Mapping[str, Any], *, gradient_checkpointing: bool = False
) -> tuple[Any, ...]:
    """A language model with adapters, its optimiser and its scheduler."""
    torch.manual_seed(3)
    mllm = CausalLanguageModel(folder, lora=lora, gradient_checkpointing=gradient_checkpointing)
    optimiser = torch.optim.AdamW(trained_weights(mllm).values(), lr=1e-2)
    return mllm, optimiser, torch.optim.lr_scheduler.ConstantLR(optimiser)


def steps(mllm: CausalLanguageModel, optimiser: Any, scheduler: Any, count: int) -> list[float]:
    losses = []
    chat = mllm.chat.encode([("which way?", "to the left")], num_video_tokens=2)
    ids, targets = torch.tensor([chat.ids]), torch.tensor([chat.targets])
    video = torch.ones(1, 2, mllm.width)
    for _ in range(count):
        embeddings = mllm.embed(ids, video, torch.ones(1, 2, dtype=torch.bool))
        hidden = mllm.hidden_states(embeddings)
        loss = -mllm.score_answers(hidden, targets).logprobs.sum()
        loss.backward()
        optimiser.step()
        scheduler.step()
        optimiser.zero_grad()
        losses.append(loss.item())
    return losses


def copies(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}


def test_only_adapters_are_trained(save_lm: Save) -> None:
    mllm, optimiser, scheduler = make_training(save_lm(), SETTINGS)
    before = copies(dict(mllm.named_parameters()))
    steps(mllm, optimiser, scheduler, 2)
    changed = {name for name, one in mllm.named_parameters() if not torch.equal(one, before[name])}
    assert changed == {name for name in before if ".lora_" in name} == trained_weights(mllm).keys()
    # Seven linear layers in each of two blocks have an A and a B.
    assert len(changed) == 2 * 7 * 2
    assert not any("lm_head" in name for name in changed)


def test_an_untrained_adapter_changes_nothing(save_lm: Save) -> None:
    folder = save_lm()
    ids = torch.arange(20, 30).unsqueeze(0)
    with torch.no_grad():
        plain, adapted = (one.eval().model(input_ids=ids).logits for one in (
            CausalLanguageModel(folder), CausalLanguageModel(folder, lora=Lora())
        ))  # fmt: skip
    torch.testing.assert_close(plain, adapted)


@pytest.mark.filterwarnings("error::FutureWarning")
@pytest.mark.parametrize("gradient_checkpointing", [False, True])
def test_it_resumes_exactly_from_a_checkpoint_of_the_adapters(
    save_lm: Save, tmp_path: Path, gradient_checkpointing: bool
) -> None:
    folder = save_lm()
    mllm, optimiser, scheduler = make_training(folder, SETTINGS, gradient_checkpointing=gradient_checkpointing)
    steps(mllm, optimiser, scheduler, 2)
    checkpoints = tmp_path / "checkpoints"
    save_checkpoint(checkpoints, model=mllm, optimiser=optimiser, samples=0, step=2, keep=1)
    losses = steps(mllm, optimiser, scheduler, 2)
    saved = latest_checkpoint(tmp_path)
    assert load_file(saved / "model.safetensors").keys() == trained_weights(mllm).keys()
    again, optimiser, scheduler = make_training(folder, SETTINGS, gradient_checkpointing=gradient_checkpointing)
    steps(again, optimiser, scheduler, 1)
    assert load_training(saved, model=again, optimiser=optimiser, scheduler=scheduler) == 2
    assert steps(again, optimiser, scheduler, 2) == losses
    theirs = trained_weights(mllm)
    assert all(torch.equal(one, theirs[name]) for name, one in trained_weights(again).items())


def test_only_adapters_have_dropout_and_only_in_training(save_lm: Save) -> None:
    mllm, *_ = make_training(save_lm(), SETTINGS)
    training = {name for name, one in mllm.model.named_modules() if one.training}
    assert training
    assert all(".lora_dropout." in name for name in training)
    assert not any(one.training for one in mllm.eval().modules())


def test_adapters_of_a_16_bit_model_are_float32(save_lm: Save) -> None:
    mllm = CausalLanguageModel(save_lm(), dtype="bfloat16", lora=Lora(target_modules=["q_proj", "v_proj"]))
    trained = trained_weights(mllm)
    assert len(trained) == 2 * 2 * 2
    assert {one.dtype for one in trained.values()} == {torch.float32}
    optimiser = torch.optim.SGD(trained.values(), lr=0.1)
    steps(mllm, optimiser, torch.optim.lr_scheduler.ConstantLR(optimiser), 1)


def test_invalid_settings_are_refused(save_lm: Save, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = save_lm()
    with pytest.raises(UserError, match=r"mllm\.lora\.target_modules=\['query'\] .*Use down_proj, gate_proj, k_proj"):
        CausalLanguageModel(folder, lora={"target_modules": ["query"]})
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(UserError, match=r"mllm\.lora needs peft.*pip install 'vtok\[lora\]'"):
        CausalLanguageModel(folder, lora=Lora())


def test_a_configuration_can_set_the_adapters(save_lm: Save) -> None:
    given = ["mllm=causal_lm", f"mllm.weights={save_lm()}", "mllm.lora={rank:2,target_modules:[q_proj]}"]
    config = compose(given)
    check(config)
    trained = trained_weights(build(config.mllm))
    assert [tuple(one.shape) for one in trained.values()] == [(2, 16), (16, 2)] * 2
