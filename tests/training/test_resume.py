"""Resuming with other settings: the state is the checkpoint's, the settings are the configuration's."""

import math
import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import get_scheduler

from vtok.common.errors import UserError
from vtok.config import compose
from vtok.runs.folder import INDEX, read_status, write_status
from vtok.training import train
from vtok.training.checkpoint import latest_checkpoint, load_training, read_state, save_checkpoint
from vtok.training.loop import Start
from vtok.training.optimisers import AdamW8bit, MuonAdamW
from vtok.training.random_state import CPU, random_states, set_random_states
from vtok.training.resume import (
    MAY_CHANGE_IN_SWEEP,
    can_resume,
    differences,
    refuse_used_folder,
    resume_point,
    run_to_resume,
)

needs_bitsandbytes = pytest.mark.skipif(find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed")
Make = Callable[..., torch.optim.Optimizer]
# An optimiser, what it was made with, what it is resumed with, and the same as keys of its groups.
CHANGES: list[Any] = [
    (torch.optim.AdamW, {"lr": 1e-2}, {"lr": 1e-3}, {}),
    (torch.optim.AdamW, {"weight_decay": 0.1}, {"weight_decay": 0.5}, {}),
    (torch.optim.AdamW, {"betas": [0.9, 0.98], "eps": 1e-8}, {"betas": [0.5, 0.7], "eps": 1e-2}, {}),
    (torch.optim.SGD, {"momentum": 0.9, "nesterov": True}, {"momentum": 0.5, "nesterov": False, "lr": 0.1}, {}),
    (torch.optim.SGD, {"momentum": 0.9}, {"momentum": 0.0}, {}),
    (torch.optim.SGD, {"momentum": 0.0}, {"momentum": 0.9}, {}),
    (torch.optim.Adafactor, {"d": 1.0, "beta2_decay": -0.8}, {"d": 2.0, "beta2_decay": -0.5, "lr": 0.1}, {}),
    (MuonAdamW, {"hidden_lr": 1e-2}, {"hidden_lr": 1e-3}, {True: {"lr": 1e-3}, False: {}}),
    (MuonAdamW, {"momentum": 0.9}, {"momentum": 0.5}, {True: {"momentum": 0.5}, False: {}}),
    (MuonAdamW, {"betas": [0.9, 0.98]}, {"betas": [0.5, 0.7], "lr": 0.1},
     {True: {}, False: {"betas": [0.5, 0.7], "lr": 0.1}}),
    pytest.param(AdamW8bit, {"betas": [0.9, 0.98]}, {"betas": [0.5, 0.7], "lr": 0.1}, {}, marks=needs_bitsandbytes),
]  # fmt: skip


def layer_of(seed: int = 0) -> nn.Linear:
    torch.manual_seed(seed)
    return nn.Linear(6, 4)


def groups(layer: nn.Linear) -> list[dict[str, Any]]:
    return [{"params": [layer.weight], "hidden": True}, {"params": [layer.bias]}]


def steps(layer: nn.Linear, optimiser: torch.optim.Optimizer, *, first: int, last: int) -> None:
    for step in range(first, last):
        inputs = torch.randn(5, 6, generator=torch.Generator().manual_seed(step))
        (layer(inputs) - inputs[:, :4]).square().mean().backward()
        optimiser.step()
        optimiser.zero_grad()


@pytest.mark.parametrize(("kind", "before", "now", "by_group"), CHANGES)
def test_a_changed_setting_of_the_optimiser_takes_effect_with_the_next_step(
    kind: Make, before: dict[str, Any], now: dict[str, Any], by_group: dict[bool, dict[str, Any]], tmp_path: Path
) -> None:
    """The truth is the optimiser that was never saved, with the new settings put into its groups by hand."""
    settings = {"lr": 1e-2, **({"hidden_lr": 1e-2} if kind is MuonAdamW else {}), **before}
    layer, again = layer_of(), layer_of(seed=1)
    whole = kind(groups(layer), **settings)
    steps(layer, whole, first=0, last=3)
    saved = save_checkpoint(tmp_path, model=layer, optimiser=whole, step=3, samples=15, keep=1)
    resumed = kind(groups(again), **{**settings, **now})
    schedule = get_scheduler("constant", optimizer=resumed)
    load_training(saved, model=again, optimiser=resumed, scheduler=schedule)
    for group in whole.param_groups:
        group.update(by_group.get(bool(group.get("hidden")), now))
    steps(layer, whole, first=3, last=5)
    steps(again, resumed, first=3, last=5)
    assert torch.equal(again.weight, layer.weight)
    assert torch.equal(again.bias, layer.bias)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("settings", "rate"),
    [
        ({"name": "cosine", "num_warmup_steps": 0, "num_training_steps": 8}, lambda n: math.cos(math.pi * n / 16) ** 2),
        ({"name": "linear", "num_warmup_steps": 0, "num_training_steps": 16}, lambda n: 1 - n / 16),
        ({"name": "constant_with_warmup", "num_warmup_steps": 10}, lambda n: min(1, n / 10)),
        ({"name": "constant"}, lambda n: 1.0),
    ],
    ids=["cosine", "linear", "constant_with_warmup", "constant"],
)  # fmt: skip
def test_a_changed_schedule_continues_as_if_it_had_always_been(
    settings: dict[str, Any], rate: Callable[[int], float], tmp_path: Path
) -> None:
    layer = layer_of()
    optimiser = torch.optim.AdamW(groups(layer), lr=1e-2)
    schedule = get_scheduler("linear", optimizer=optimiser, num_warmup_steps=2, num_training_steps=8)
    for step in range(3):
        steps(layer, optimiser, first=step, last=step + 1)
        schedule.step()
    saved = save_checkpoint(tmp_path, model=layer, optimiser=optimiser, step=3, samples=15, keep=1)
    resumed = torch.optim.AdamW(groups(layer), lr=1e-3)
    schedule = get_scheduler(optimizer=resumed, **settings)
    load_training(saved, model=layer, optimiser=resumed, scheduler=schedule)
    for step in (3, 4, 5):
        assert [group["lr"] for group in resumed.param_groups] == pytest.approx([1e-3 * rate(step)] * 2)
        assert schedule.get_last_lr() == [group["lr"] for group in resumed.param_groups]
        steps(layer, resumed, first=step, last=step + 1)
        schedule.step()


def test_a_schedule_without_a_closed_form_is_restored_too(tmp_path: Path) -> None:
    layer = layer_of()
    optimiser = torch.optim.AdamW(groups(layer), lr=1e-2)
    saved = save_checkpoint(tmp_path, model=layer, optimiser=optimiser, step=5, samples=25, keep=1)
    schedule = torch.optim.lr_scheduler.StepLR(optimiser, step_size=2, gamma=0.5)
    load_training(saved, model=layer, optimiser=optimiser, scheduler=schedule)
    assert schedule.get_last_lr() == [1e-2 * 0.5**2] * 2


RATE, WEIGHT, NORM, DECAY = 0.05, 0.5, 0.02, 0.75


@pytest.fixture(scope="module")
def saved_run(tiny_settings: list[str], tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], Path]:
    """Overrides, and the folder of a run that took two steps of four clips by them."""
    folder = tmp_path_factory.mktemp("saved")
    settings = [*tiny_settings, "optimiser=sgd", "optimiser.momentum=0", "optimiser.nesterov=false"]
    settings += ["scheduler=constant", "scheduler.num_warmup_steps=0", "trainer.ema_decay=0.5"]
    settings += [f"outputs={folder / 'outputs'}"]
    train(compose([*settings, "trainer.max_steps=2"]), run_dir=folder / "run")
    return settings, folder / "run"


@pytest.fixture
def run_dir(saved_run: tuple[list[str], Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved_run[1], tmp_path / "run"))


def by_hand(model: nn.Module, batches: list[Any]) -> Tensor:
    """Clip the gradient of the weighted mean over all answers of a step and take the step; returns the norm."""
    answers = [batch.counts()["under"] for batch in batches]
    for batch, number in zip(batches, answers, strict=True):
        (WEIGHT * model(batch)["under"] * number / sum(answers)).backward()
    trained = [one for one in model.parameters() if one.requires_grad and one.grad is not None]
    norm = torch.stack([one.grad.square().sum() for one in trained]).sum().sqrt()
    with torch.no_grad():
        for one in trained:
            one -= RATE * one.grad * min(1.0, NORM / float(norm))
    return norm


def test_a_changed_setting_of_the_loop_takes_effect_with_the_next_step(
    saved_run: tuple[list[str], Path], run_dir: Path, model_and_batches: Callable[..., Any]
) -> None:
    """Batch size, accumulation, weight of a loss, clipping, average, rate: against a step that is taken by hand."""
    changes = ["loader.batch_size=3", "trainer.accumulate=2", f"objective.lambda_under={WEIGHT}", "trainer.max_steps=3"]
    changes += [f"trainer.clip_norm={NORM}", f"trainer.ema_decay={DECAY}", f"optimiser.lr={RATE}"]
    allowed = ",".join(change.split("=")[0] for change in changes)
    config = compose([*saved_run[0], *changes, f"resume={run_dir}", f"resume.allow=[{allowed}]"])
    before = latest_checkpoint(run_dir)
    average = load_file(before / "ema.safetensors")
    model, batches = model_and_batches(config, start=Start(step=2, samples=2 * 4), weights=before)
    assert by_hand(model, [next(batches), next(batches)]) > NORM
    assert train(config)["steps"] == 3
    after = latest_checkpoint(run_dir)
    assert read_state(after)["samples"] == 2 * 4 + 2 * 3
    now, ema = load_file(after / "model.safetensors"), load_file(after / "ema.safetensors")
    for name, weight in model.state_dict().items():
        if name in average:
            torch.testing.assert_close(now[name], weight, rtol=0, atol=1e-6)
            torch.testing.assert_close(ema[name], DECAY * average[name] + (1 - DECAY) * weight, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "allowed", "sentence"),
    [
        (
            ["optimiser=adamw"],
            "optimiser",
            r"optimiser._target_=.*\.AdamW: .* was trained by .*\.Sgd",
        ),
        (["mllm.width=64"], "mllm", "belongs to another model"),
    ],
)
def test_a_run_that_cannot_be_resumed_stays_as_it_was(
    changes: list[str], allowed: str, sentence: str, saved_run: tuple[list[str], Path], run_dir: Path
) -> None:
    settings = [one for one in saved_run[0] if not (one.startswith("optimiser") and "optimiser=adamw" in changes)]
    before = {name: (run_dir / name).read_text() for name in ("config.yaml", "status.json", "summary.json")}
    changes = [*changes, "trainer.max_steps=3", f"resume={run_dir}", f"resume.allow=[{allowed}]"]
    with pytest.raises(UserError, match=sentence):
        train(compose([*settings, *changes]))
    assert {name: (run_dir / name).read_text() for name in before} == before
    assert read_status(run_dir)["status"] == "finished"


def test_a_changed_clip_is_one_difference_and_workers_are_none() -> None:
    before, now = compose(["loader.num_workers=3"]), compose(["clip.fps=8", "loader.batch_size=4"])
    assert differences(before, now) == {"clip.fps": (None, 8.0), "loader.batch_size": (16, 4)}
    allowed = compose(["clip.fps=8", "resume.allow=[clip.fps]"])
    assert differences(before, allowed) == {}


def test_where_a_run_stands_is_counted_in_clips(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text('{"step": 5, "processes": 2, "samples": 40}')
    for processes in (1, 2, 3):
        assert resume_point(tmp_path, processes=processes) == Start(step=5, samples=40)


def test_a_resumed_run_continues_the_running_mean_of_the_loss(
    saved_run: tuple[list[str], Path], run_dir: Path, tmp_path: Path
) -> None:
    settings = [*saved_run[0], "trainer.max_steps=4"]
    train(compose([*settings, f"resume={run_dir}"]))
    train(compose([*settings]), run_dir=tmp_path / "uninterrupted")
    resumed, expected = (read_state(latest_checkpoint(one)) for one in (run_dir, tmp_path / "uninterrupted"))
    assert resumed["loss"] == expected["loss"]
    assert resume_point(latest_checkpoint(run_dir), processes=1).loss == resumed["loss"]


@pytest.mark.parametrize("loss", ['"low"', "NaN", "null"])
def test_a_damaged_mean_of_the_loss_is_refused(loss: str, tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text(f'{{"step": 5, "processes": 2, "samples": 40, "loss": {loss}}}')
    with pytest.raises(UserError, match=r"state\.json"):
        read_state(tmp_path)


@pytest.mark.parametrize(
    ("before", "now", "in_sweep"),
    [
        ("trainer.stop_loss=0.1", "trainer.stop_loss=null", False),
        ("trainer.max_steps=300", "trainer.max_steps=600", False),
        ("trainer.best_by=null", "trainer.best_by=validation/alignment/colour", False),
        ("trainer.best_is=max", "trainer.best_is=min", False),
        ("trainer.evaluate_every=0", "trainer.evaluate_every=100", False),
        ("loader.max_bad_fraction=0.01", "loader.max_bad_fraction=0.1", True),
        ("trainer.save_every=0", "trainer.save_every=100", True),
    ],
)
def test_what_may_change_when_a_run_is_resumed_by_its_user_or_in_a_sweep(before: str, now: str, in_sweep: bool) -> None:
    configs = compose([before]), compose([now])
    assert differences(*configs) == {}
    assert (differences(*configs, may_change=MAY_CHANGE_IN_SWEEP) == {}) == in_sweep


@pytest.mark.parametrize("path", ["auto", "run"])
def test_another_length_of_the_schedule_is_a_warning(
    path: str, saved_run: tuple[list[str], Path], run_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_status(run_dir, "stopped", None)
    settings = [*saved_run[0], "trainer.max_steps=3", "scheduler=cosine"]
    (Path(compose(settings).outputs) / INDEX).write_text(f"{run_dir}\n")
    allowed = [f"resume={run_dir if path == 'run' else path}", "resume.allow=[scheduler]"]
    assert run_to_resume(compose([*settings, *allowed])) == run_dir
    assert "trainer.max_steps was 2, is 3: the learning rate (cosine) continues" in caplog.text


def test_a_sweep_refuses_the_folder_of_a_run_of_another_length(
    saved_run: tuple[list[str], Path], run_dir: Path
) -> None:
    config = compose([*saved_run[0], "trainer.max_steps=3"])
    assert can_resume(run_dir, config)
    assert not can_resume(run_dir, config, may_change=MAY_CHANGE_IN_SWEEP)
    with pytest.raises(
        UserError, match=r"configuration \(trainer\.max_steps was 2, is 3\)\. Delete the folder, or set"
    ):
        train(config, run_dir=run_dir, sweep_dir=run_dir.parent)
    with pytest.raises(UserError, match=r"already has a run\. Resume it with 'resume="):
        refuse_used_folder(run_dir.rename(run_dir.with_name("a run")), config, in_sweep=False)


def test_a_run_of_a_cpu_stays_on_one_where_there_is_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    saved = {f"{name}/0": state for name, state in random_states(CPU).items()}
    drawn = torch.rand(3)
    way_out = r"trainer\.device=cpu 'resume\.allow=\[trainer\.device\]'"
    with pytest.raises(UserError, match=way_out):
        set_random_states(saved, 0, torch.device("cuda", 0), tmp_path)
    set_random_states(saved, 0, CPU, tmp_path)
    assert torch.equal(torch.rand(3), drawn)
