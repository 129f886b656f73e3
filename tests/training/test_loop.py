"""The training loop: its batches and its losses."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from vtok.config import compose
from vtok.model.batch import Batch
from vtok.model.objective import LOSSES
from vtok.training.interrupt import Interrupt
from vtok.training.loop import Start, is_due, loss_weights
from vtok.training.step_batches import take_batches
from vtok.training.step_numbers import StepNumbers, add_losses


@pytest.fixture
def small(tiny_run: list[str], model_and_batches: Callable[..., Any]) -> tuple[Any, Iterator[Batch]]:
    """A small model and its first batches."""
    return model_and_batches(compose(tiny_run), start=Start(step=0, samples=0))


def test_a_signal_while_waiting_for_data_stops_before_the_step(
    small: tuple[Any, Iterator[Batch]],
) -> None:
    model, batches = small
    interrupt = Interrupt()

    def interrupted() -> Iterator[Batch]:
        for batch in batches:
            interrupt.signal = 15
            yield batch

    micro, report = take_batches(interrupted(), 1, model=model, interrupt=interrupt)
    assert (len(micro), report.signal) == (1, 15)
    assert take_batches(batches, 1, model=model, interrupt=interrupt)[0] == []


def test_the_parts_of_a_step_add_up_to_its_losses() -> None:
    """The losses of a step are the sum of the weighted losses of its micro-batches."""
    losses: dict[str, torch.Tensor] = {}
    for under, weight in ((4.0, 0.25), (8.0, 0.75)):
        parts = {"under": torch.tensor(under), "loss": torch.tensor(weight * under)}
        add_losses(losses, parts, {"under": weight}, processes=1)
    numbers = StepNumbers()
    numbers.add(losses, torch.tensor(3.0), step=1)
    assert numbers.read() == [{"under": 7.0, "loss": 7.0, "grad_norm": 3.0}]
    assert numbers.read() == []


def test_the_accuracy_of_a_step_is_that_of_all_its_answer_tokens(small: tuple[Any, Iterator[Batch]]) -> None:
    model, batches = small
    micro = [next(batches) for _ in range(2)]
    totals = {name: sum(batch.counts()[name] for batch in micro) for name in LOSSES}
    losses: dict[str, torch.Tensor] = {}
    right = 0
    for batch in micro:
        weights = loss_weights(batch, totals, processes=1)
        add_losses(losses, model(batch, weights), weights, processes=1)
        assert batch.text is not None
        right += int(model.text_scores(model.tokeniser.encode_planned(batch.video), batch.text).likeliest.sum())
    assert losses["accuracy"].item() == pytest.approx(right / totals["under"])


@pytest.mark.parametrize(("every", "steps"), [(0, []), (1, [1, 2, 3, 4]), (2, [2, 4]), (3, [3])])
def test_is_due(every: int, steps: list[int]) -> None:
    assert [step for step in range(1, 5) if is_due(every, step)] == steps
