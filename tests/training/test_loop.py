"""The training loop: its batches, its losses, and when it waits for a device."""

import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch.utils._python_dispatch import TorchDispatchMode

import vtok
from vtok.config import compose
from vtok.model.batch import Batch
from vtok.training.interrupt import Interrupt
from vtok.training.loop import Start, add_losses, finite_numbers, is_due
from vtok.training.step_batches import take_batches

TRANSFORMERS = str(Path(transformers.__file__).parent)
PACKAGES = (TRANSFORMERS, str(Path(vtok.__file__).parent))
ATEN = torch.ops.aten
READS = {ATEN.nonzero.default, ATEN._local_scalar_dense.default, ATEN.equal.default, ATEN.masked_select.default}
INDEXING = {ATEN.index.Tensor, ATEN.index_put.default, ATEN.index_put_.default, ATEN._index_put_impl_.default}


class Waits(TorchDispatchMode):
    """Records the lines of VTok whose operations would wait for a GPU."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        by_mask = func in INDEXING and any(one is not None and one.dtype == torch.bool for one in args[1])
        if func in READS or by_mask:
            frames = [
                one for one in traceback.extract_stack() if "vtok/" in one.filename or "transformers" in one.filename
            ]
            # transformers looks whether there is padding.
            if not frames or "transformers" not in frames[-1].filename:
                self.found.append(f"{func}: {frames[-1].line if frames else ''}")
        return func(*args, **(kwargs or {}))


@pytest.fixture
def small(tiny_run: list[str], model_and_batches: Callable[..., Any]) -> tuple[Any, Iterator[Batch]]:
    """A small model and its first batches."""
    return model_and_batches(compose(tiny_run), start=Start(step=0, samples=0))


def test_the_losses_of_understanding_and_their_gradients_wait_for_no_device(
    small: tuple[Any, Iterator[Batch]],
) -> None:
    model, batches = small
    batch = next(batches)
    assert len(set(batch.text.mask.sum(1).tolist())) > 1, "rows of one length would hide what padding asks for"
    with Waits() as waits:
        losses = model(batch.to(torch.device("cpu")), {"under": 1.0})
        losses["loss"].backward()
    assert waits.found == []
    with Waits() as waits:
        batch.text.ids[batch.text.mask].sum().item()
    assert len(waits.found) == 2


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
    assert finite_numbers(losses, torch.tensor(3.0), step=1) == {"under": 7.0, "loss": 7.0, "grad_norm": 3.0}


@pytest.mark.parametrize(("every", "steps"), [(0, []), (1, [1, 2, 3, 4]), (2, [2, 4]), (3, [3])])
def test_is_due(every: int, steps: list[int]) -> None:
    assert [step for step in range(1, 5) if is_due(every, step)] == steps
