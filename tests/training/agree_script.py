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
from vtok.training.loop import finite_numbers
from vtok.training.step_batches import Report, combine_reports

CPU = torch.device("cpu")
NOTHING = dict.fromkeys(LOSSES, 0)


def check_sums() -> None:
    assert summed([rank(), 10 + rank(), True], device=CPU) == [1, 21, 2]
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
        assert combine_reports(own[rank()], device=CPU) == Report(
            {"under": 8, "visLM": 4, "dec": 2}, unmeasured=True, bad=[]
        )
        assert not combine_reports(own[0], device=CPU).unmeasured


def check_texts() -> None:
    """Both processes get the broken clips, the signal and the mistake of either."""
    bad = [(f"{rank()}.mp4", "it is empty")]
    assert combine_reports(Report(NOTHING, bad=bad), device=CPU).bad == [
        ("0.mp4", "it is empty"),
        ("1.mp4", "it is empty"),
    ]
    assert combine_reports(Report(NOTHING, bad=bad[: rank()]), device=CPU).bad == [("1.mp4", "it is empty")]
    assert combine_reports(Report(NOTHING, signal=15 if rank() else None), device=CPU).signal == 15
    mistake = Report(NOTHING, mistake="all clips are broken" if rank() else None)
    with pytest.raises(UserError, match="all clips are broken"):
        combine_reports(mistake, device=CPU)
    # A signal has priority, because it is not a failure.
    stopping = Report(NOTHING, signal=2) if rank() else Report(NOTHING, mistake="all clips are broken")
    assert combine_reports(stopping, device=CPU).signal == 2


def check_finite() -> None:
    """Losses are summed. If one is not finite in one process, both raise."""
    losses = {"under": torch.tensor(1.5 + rank()).double(), "loss": torch.tensor(2.0).double()}
    assert finite_numbers(losses, torch.tensor(0.25), step=1) == {"under": 4.0, "loss": 4.0, "grad_norm": 0.25}
    losses = {"loss": torch.tensor(float("nan") if rank() else 2.0).double()}
    with pytest.raises(UserError, match=r"step 7: the loss is nan and its gradient's norm 0\.25"):
        finite_numbers(losses, torch.tensor(0.25), step=7)


if __name__ == "__main__":
    Accelerator(cpu=True)
    check_sums()
    check_numbers()
    check_texts()
    check_finite()
    (Path(sys.argv[1]) / str(rank())).touch()
    torch.distributed.destroy_process_group()
