"""`vtok benchmark train` makes the same steps by both loops; what it measures is not tested."""

import json
from pathlib import Path

import pytest
import torch

from vtok.benchmark import train as benchmark
from vtok.build import build, build_model
from vtok.cli import main
from vtok.config import compose
from vtok.training.checkpoint import trained_weights


def test_ratios_shares_and_a_json(
    tiny_run: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = [item for item in tiny_run if not item.startswith(("tracking", "trainer"))]
    extra = ["tracking.system_metrics=false", "trainer.log_every=2", "trainer.ema_decay=0.9", "trainer.progress=false"]
    assert main(["benchmark", "train", *settings, *extra, "steps=6", "runs=2", "out=figures.json"]) == 0
    shown = capsys.readouterr().out
    assert "ratio" in shown
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert len(figures["ratios"]) == 2
    assert set(figures["shares"]) == {"data", "forward", "backward", "optimiser", "ema", "logging"}
    assert sum(figures["shares"].values()) == pytest.approx(1.0, abs=0.02)
    assert not (tmp_path / "mlflow.db").exists()


def test_both_loops_take_the_same_steps(tiny_run: list[str]) -> None:
    """With one batch a step its texts weigh alike in both: the weights are the same to the last bit."""
    config = compose([*tiny_run, "trainer.max_steps=4", "scheduler.num_warmup_steps=1"])
    trainer = build(config.trainer)
    batches = benchmark.make_batches(config, build_model(config), number=2)
    models = [build_model(config), build_model(config)]
    benchmark.bare_loop(config, trainer, models[0], benchmark.Timed(batches), steps=4)
    benchmark.trainer_loop(config, trainer, models[1], benchmark.Timed(batches))
    bare, ours = (trained_weights(model) for model in models)
    start = trained_weights(build_model(config))
    assert all(torch.equal(bare[name], ours[name]) for name in bare)
    assert any(not torch.equal(bare[name], start[name]) for name in bare)


def test_too_few_steps_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["benchmark", "train", "steps=2"]) == 1
    assert "steps=2, runs=5: allowed are 5 steps or more" in capsys.readouterr().err
