"""DDP on two processes, with every objective, visual head and decoder."""

from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from types import SimpleNamespace
from typing import Any

import pytest

from tests.model.test_freezing import make_decoders, make_model
from vtok.training.parallel import Ddp

SCRIPT = Path(__file__).with_name("ddp_script.py")


@pytest.mark.slow
def test_two_processes_take_steps_with_every_objective_head_and_decoder(
    torchrun: Callable[..., CompletedProcess[str]], tmp_path: Path
) -> None:
    done = torchrun(SCRIPT, str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "done").is_file()


def test_offloaded_modules_stay_on_the_cpu(tmp_path: Path) -> None:
    model = make_model((0.0, 0.0, 1.0), "none", make_decoders(tmp_path)["hunyuan_video, offloaded"])
    accelerator: Any = SimpleNamespace(device="meta")
    Ddp().place(model, accelerator)
    assert {one.device.type for part in model.offloaded for one in part.parameters()} == {"cpu"}
    assert {one.device.type for one in (*model.mllm.parameters(), model.decoder.nothing)} == {"meta"}
