"""The metrics of the training loop."""

from pathlib import Path

import pytest
import torch
from accelerate import Accelerator

from vtok.config import compose
from vtok.tracking.sender import JOURNAL, read_lines
from vtok.training import metrics as meter
from vtok.training import train
from vtok.training.metrics import Meter, Stopwatch, count_flops


def test_shares_of_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter([0.0, 1.0, 4.0, 10.0, 12.0])
    monkeypatch.setattr(meter.time, "perf_counter", lambda: next(ticks))
    watch = Stopwatch(torch.device("cpu"))
    watch.lap("data")
    watch.lap("forward")
    watch.begin()  # six seconds that belong to no part
    watch.lap("data")
    assert watch.shares() == {"data": 0.5, "forward": 0.5}
    assert watch.shares() == {}


def test_means_since_the_last_call(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(meter.time, "perf_counter", lambda: now)
    running = Meter(Stopwatch(torch.device("cpu")), peak_tflops=2.0)
    running.flops = 3 * 10**12
    running.begin_step()
    now = 1.0
    running.add([{"loss": 4.0, "under": 1.0}], tokens=100, clips=8)
    now = 5.0
    # Time between steps is part of none.
    running.begin_step()
    now = 8.0
    running.add([{"loss": 2.0, "under": 3.0}], tokens=300, clips=8)
    figures = running.metrics()
    assert (figures["train/loss"], figures["train/under"]) == (3.0, 2.0)
    assert (figures["train/tokens_per_second"], figures["train/samples_per_second"]) == (100.0, 4.0)
    assert (figures["train/tflops"], figures["train/mfu"]) == (1.5, 0.75)
    running.begin_step()
    now = 10.0
    running.add([{"loss": 1.0}], tokens=10, clips=2)
    assert running.metrics()["train/tokens_per_second"] == 5.0
    assert running.seconds_per_step == 2.0


def test_the_line_of_a_step_says_loss_speed_and_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(meter.time, "perf_counter", lambda: now)
    running = Meter(Stopwatch(torch.device("cpu")), peak_tflops=None)
    for begin, losses in ((0.0, {"loss": 3.0, "grad_norm": 0.5}), (4.0, {"loss": 1.0, "grad_norm": 1.5})):
        now = begin
        running.begin_step()
        now += 1
        running.watch.lap("forward")
        now += 3
        running.watch.lap("backward")
        running.add([losses], tokens=100, clips=8)
    running.metrics()
    assert running.line(lr=1.5e-3, steps_left=30) == (
        "loss 2, lr 0.0015, grad_norm 1, 2 clips/s, 25 tokens/s, 2:00 left"
    )
    assert running.time_shares() == "forward 25%, backward 75%"
    running.begin_step()
    now += 4
    running.add([{"loss": 3.0, "under": 2.0, "dec": 1.0, "accuracy": 0.875, "grad_norm": 1.0}], tokens=100, clips=8)
    running.metrics()
    assert running.line(lr=1.0, steps_left=1000).startswith("loss 3 (under 2, dec 1), token accuracy 87.5%, lr 1, ")
    assert running.line(lr=1.0, steps_left=1000).endswith(", 1:06:40 left")


def test_operations_are_those_of_the_matrices_and_counting_changes_nothing() -> None:
    """For n rows, a linear layer has 2 n operations a weight in the forward pass and for each of its two gradients."""

    class Stack(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.Dropout(0.5), torch.nn.Linear(16, 4))
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, batch: torch.Tensor) -> dict[str, torch.Tensor]:
            self.calls += 1
            return {"loss": self.layers(batch).square().mean()}

    model, batch = Stack(), torch.randn(10, 8)
    before = torch.get_rng_state()
    flops = count_flops(model, batch, Accelerator(cpu=True))
    assert flops == 2 * 10 * (2 * 8 * 16 + 3 * 16 * 4)
    assert torch.equal(torch.get_rng_state(), before)
    assert model.calls == 0
    assert all(parameter.grad is None for parameter in model.parameters())


def test_counting_changes_no_weight_of_a_run(tiny_run: list[str], tmp_path: Path) -> None:
    plain = train(compose(tiny_run), run_dir=tmp_path / "plain")
    counted = train(compose([*tiny_run, "trainer.peak_tflops=1"]), run_dir=tmp_path / "counted")
    assert counted["digest/trained"] == plain["digest/trained"]
    assert "mfu" in (tmp_path / "counted" / "train.log").read_text()


def test_a_run_tracks_the_shares(tiny_run: list[str], tmp_path: Path) -> None:
    settings = [item for item in tiny_run if item != "tracking=none"]
    where = [f"tracking.uri=sqlite:///{tmp_path}/mlflow.db", "tracking.system_metrics=false"]
    train(compose([*settings, *where]), run_dir=tmp_path / "run")
    told = "".join(read_lines(tmp_path / "run" / JOURNAL))
    for name in ("train/time_data", "train/time_backward", "train/samples_per_second"):
        assert name in told
