"""The checks of two processes for test_distributed.py, started by torchrun: FOLDER, in which each leaves a file."""

import sys
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator

from vtok.common import distributed
from vtok.common.distributed import rank, summed, summed_tensor
from vtok.common.errors import UserError
from vtok.model.objective import LOSSES
from vtok.training import step_batches
from vtok.training.step_batches import Report, combine_reports
from vtok.training.step_numbers import StepNumbers

NOTHING = dict.fromkeys(LOSSES, 0)


def check_sums() -> None:
    assert summed([rank(), 10 + rank(), True]) == [1, 21, 2]
    values = torch.tensor([0.5, rank()])
    assert summed_tensor(values) is values
    assert values.tolist() == [1.0, 1.0]


def check_numbers() -> None:
    """Counts are summed, and a flag is set if any process sets it. Nothing is pickled."""
    own = [
        Report(counts={"under": 3, "visLM": 4, "dec": 0}),
        Report(counts={"under": 5, "visLM": 0, "dec": 2}, unmeasured=True),
    ]
    with pytest.MonkeyPatch.context() as patch:
        for module in (distributed.dist, step_batches):
            name = "gathered" if module is step_batches else "all_gather_object"
            patch.setattr(module, name, lambda *_: pytest.fail("objects were sent"))
        assert combine_reports(own[rank()]) == Report({"under": 8, "visLM": 4, "dec": 2}, unmeasured=True, bad=[])
        assert not combine_reports(own[0]).unmeasured


def check_texts() -> None:
    """Both processes get the broken clips, the signal and the mistake of either."""
    bad = [(f"{rank()}.mp4", "it is empty")]
    assert combine_reports(Report(NOTHING, bad=bad)).bad == [
        ("0.mp4", "it is empty"),
        ("1.mp4", "it is empty"),
    ]
    assert combine_reports(Report(NOTHING, bad=bad[: rank()])).bad == [("1.mp4", "it is empty")]
    assert combine_reports(Report(NOTHING, signal=15 if rank() else None)).signal == 15
    mistake = Report(NOTHING, mistake="all clips are broken" if rank() else None)
    with pytest.raises(UserError, match="all clips are broken"):
        combine_reports(mistake)
    # A signal has priority, because it is not a failure.
    stopping = Report(NOTHING, signal=2) if rank() else Report(NOTHING, mistake="all clips are broken")
    assert combine_reports(stopping).signal == 2


def check_finite() -> None:
    """Losses are summed. If one is not finite in one process, both raise, and name the first step with such a loss."""
    numbers = StepNumbers()
    losses = {"under": torch.tensor(1.5 + rank()).double(), "loss": torch.tensor(2.0).double()}
    numbers.add(losses, torch.tensor(0.25), step=1)
    assert numbers.read() == [{"under": 4.0, "loss": 4.0, "grad_norm": 0.25}]
    for step, loss in ((6, 1.0), (7, float("nan") if rank() else 2.0), (8, float("inf"))):
        numbers.add({"loss": torch.tensor(loss).double()}, torch.tensor(0.25), step=step)
    with pytest.raises(UserError, match=r"step 7: the loss is nan and its gradient's norm 0\.25"):
        numbers.read()


if __name__ == "__main__":
    Accelerator(cpu=True)
    check_sums()
    check_numbers()
    check_texts()
    check_finite()
    (Path(sys.argv[1]) / str(rank())).touch()
    torch.distributed.destroy_process_group()
