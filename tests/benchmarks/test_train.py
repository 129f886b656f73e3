"""`python benchmarks/train.py`: both loops take the same steps; times are not tested."""

import json
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from vtok.cli.main import run_script
from vtok.config import compose
from vtok.evaluation.cost import timing
from vtok.model.build import build, build_model
from vtok.training.model_tensors import trained_weights


def test_ratios_shares_and_a_json(
    train: ModuleType,
    tiny_run: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = [item for item in tiny_run if not item.startswith(("tracking", "trainer"))]
    extra = ["tracking.system_metrics=false", "trainer.log_every=2", "trainer.ema_decay=0.9", "trainer.progress=false"]
    assert run_script(train.train, [*settings, *extra, "steps=8", "out=figures.json"]) == 0
    shown = capsys.readouterr().out
    assert "ratio" in shown
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert len(figures["ratios"]) == 2
    assert set(figures["shares"]) == {"forward", "backward", "optimiser", "ema", "logging"}
    assert sum(figures["shares"].values()) == pytest.approx(1.0, abs=1e-6)
    assert not (tmp_path / "mlflow.db").exists()


def test_both_loops_take_the_same_steps(train: ModuleType, tiny_run: list[str]) -> None:
    """With one batch a step its texts weigh alike in both: the weights are the same to the last bit."""
    config = compose([*tiny_run, "trainer.max_steps=4", "scheduler.num_warmup_steps=1"])
    trainer = build(config.trainer)
    batches = train.first_batches(config, trainer, build_model(config), number=2)
    models = [build_model(config), build_model(config)]
    loop = train.bare_loop(config, trainer, models[0], batches)
    for _ in range(4):
        next(loop)
    train.trainer_loop(config, trainer, models[1], cycle(batches))
    bare, ours = (trained_weights(model) for model in models)
    start = trained_weights(build_model(config))
    assert all(torch.equal(bare[name], ours[name]) for name in bare)
    assert any(not torch.equal(bare[name], start[name]) for name in bare)


def test_turns_are_between_two_logs_and_each_is_timed_alone(train: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a fake clock: a batch of the trainer takes 1, so a step of two batches 2; a step of the bare loop takes 5."""
    now = 0.0
    order: list[str] = []

    def bare() -> Iterator[None]:
        nonlocal now
        while True:
            now += 5
            order.append("bare")
            yield

    monkeypatch.setattr(timing.time, "perf_counter", lambda: now)
    batches: list[Any] = [0, 1, 2]
    turns = train.Turns(batches, bare(), turn=4, accumulate=2, device=torch.device("cpu"))
    taken = []
    for _ in range(train.min_steps(4)):
        for _ in range(2):
            taken.append(next(turns))
            now += 1
        order.append("trainer")
    assert taken == [number % 3 for number in range(22)]
    assert order == ["trainer"] * 2 + (["bare"] * 4 + ["trainer"] * 4) * 2 + ["bare"] * 4 + ["trainer"]
    assert turns.trainer_seconds == [2, 2]
    assert turns.bare_seconds == [5, 5, 5]


def test_a_ratio_is_to_the_turns_before_and_after(train: ModuleType) -> None:
    """On a machine that gets slower all the time, two equal loops have a ratio of 1."""
    result = train.Result(trainer=(1.5, 2.5), bare=(1.0, 2.0, 3.0), shares={})
    assert result.ratios == [1.0, 1.0]
    assert result.ratio == 1.0


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["steps=25"], "steps=25: too few to compare turns of trainer.log_every=10 steps. Use 26 or more, or set"),
        (["steps=0"], "steps=0: must be an integer >= 1."),
        (["tokeniser.stride=99"], "tokeniser.stride=99"),
        (["tokeniser.strid=3"], "tokeniser.strid"),
        (["mllm=causal_lm", "mllm.weights=no/such/model"], "mllm.weights=no/such/model: there is no such file"),
    ],
)
def test_a_mistake_is_one_sentence(
    train: ModuleType, arguments: list[str], error: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_script(train.train, arguments) == 1
    shown = capsys.readouterr().err
    assert shown.startswith("error: ")
    assert error in shown
