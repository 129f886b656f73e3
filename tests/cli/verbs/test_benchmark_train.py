"""`vtok benchmark train` makes the same steps by both loops; what it measures is not tested."""

import json
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
import torch

from vtok.benchmark import train as benchmark
from vtok.cli.main import main
from vtok.config import compose
from vtok.evaluation.cost import clock
from vtok.model.build import build, build_model
from vtok.training.model_tensors import trained_weights


def test_ratios_shares_and_a_json(
    tiny_run: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = [item for item in tiny_run if not item.startswith(("tracking", "trainer"))]
    extra = ["tracking.system_metrics=false", "trainer.log_every=2", "trainer.ema_decay=0.9", "trainer.progress=false"]
    assert main(["benchmark", "train", *settings, *extra, "steps=8", "out=figures.json"]) == 0
    shown = capsys.readouterr().out
    assert "ratio" in shown
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert len(figures["ratios"]) == 2
    assert set(figures["shares"]) == {"forward", "backward", "optimiser", "ema", "logging"}
    assert sum(figures["shares"].values()) == pytest.approx(1.0, abs=1e-6)
    assert not (tmp_path / "mlflow.db").exists()


def test_both_loops_take_the_same_steps(tiny_run: list[str]) -> None:
    """With one batch a step its texts weigh alike in both: the weights are the same to the last bit."""
    config = compose([*tiny_run, "trainer.max_steps=4", "scheduler.num_warmup_steps=1"])
    trainer = build(config.trainer)
    batches = benchmark.make_batches(config, build_model(config), number=2)
    models = [build_model(config), build_model(config)]
    loop = benchmark.bare_loop(config, trainer, models[0], batches)
    for _ in range(4):
        next(loop)
    benchmark.trainer_loop(config, trainer, models[1], cycle(batches))
    bare, ours = (trained_weights(model) for model in models)
    start = trained_weights(build_model(config))
    assert all(torch.equal(bare[name], ours[name]) for name in bare)
    assert any(not torch.equal(bare[name], start[name]) for name in bare)


def test_turns_are_between_two_logs_and_each_is_timed_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock of our own: a batch of ours takes 1, so a step of two 2, and a step of the other 5."""
    now = 0.0
    order: list[str] = []

    def other() -> Iterator[None]:
        nonlocal now
        while True:
            now += 5
            order.append("other")
            yield

    monkeypatch.setattr(clock.time, "perf_counter", lambda: now)
    batches: list[Any] = [0, 1, 2]
    turns = benchmark.Turns(batches, other(), turn=4, accumulate=2, device=torch.device("cpu"))
    taken = []
    for _ in range(benchmark.least_steps(4)):
        for _ in range(2):
            taken.append(next(turns))
            now += 1
        order.append("ours")
    assert taken == [number % 3 for number in range(22)]
    assert order == ["ours"] * 2 + (["other"] * 4 + ["ours"] * 4) * 2 + ["other"] * 4 + ["ours"]
    assert turns.ours == [2, 2]
    assert turns.others == [5, 5, 5]


def test_a_ratio_is_to_the_turns_around_it() -> None:
    """The machine gets slower all the time: the ratio of two loops that are alike stays 1."""
    result = benchmark.Result(trainer=(1.5, 2.5), bare=(1.0, 2.0, 3.0), shares={})
    assert result.ratios == [1.0, 1.0]
    assert result.ratio == 1.0


def test_too_few_steps_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["benchmark", "train", "steps=25"]) == 1
    assert "steps=25: allowed are 26 or more, to compare turns of trainer.log_every=10" in capsys.readouterr().err
