"""A model sharded over two processes: what they compute, save and resume from, against a single process.

One start of two processes does all of it (fsdp2_script.py), for a start takes longer than what is done.
"""

import json
import logging
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
import torch

from vtok.common.errors import UserError
from vtok.config import compose
from vtok.inference.load import load_run
from vtok.training import train
from vtok.training.checkpoint import (
    latest_checkpoint,
    load_average,
    load_weights,
    read_state,
)
from vtok.training.model_tensors import digest, persistent_buffers, saved_tensors
from vtok.training.sharded_tensors import read

SCRIPT = Path(__file__).with_name("fsdp2_script.py")
FSDP2 = "trainer/parallel=fsdp2"
PLAIN = ("optimiser=sgd", "optimiser.lr=0.1", "scheduler=constant", "scheduler.num_warmup_steps=0")
JOINT = (
    "objective=joint",
    "decoder=none",
    "objective.lambda_dec=0",
    "trainer.ema_decay=0.9",
    "data.validation_clips=5",
    "data.test_clips=5",
)
REGRESSION = ("visual_head=regression", "data.train_clips=16", "trainer.accumulate=2")
NOISY = ("visual_head.width=16", "visual_head.steps=2", "scheduler=constant", "data.families=[motion]")
OTHER = "resume.allow=[trainer.processes,trainer.parallel]"


@dataclass(frozen=True)
class Done:
    """The result of the processes: their folder, output and exit code."""

    folder: Path
    said: CompletedProcess[str]
    settings: list[str]

    def figures(self, name: str, process: int = 0) -> dict[str, Any]:
        return json.loads((self.folder / f"{name}.{process}.json").read_text())


@pytest.fixture(scope="module")
def done(
    torchrun: Callable[..., CompletedProcess[str]],
    tiny_settings: list[str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Done:
    folder = tmp_path_factory.mktemp("fsdp2")
    settings = [*tiny_settings, *JOINT, f"outputs={folder / 'outputs'}"]
    train(compose([*settings, *NOISY, "trainer.max_steps=2"]), run_dir=folder / "alone")
    shared = [*settings, FSDP2, "trainer.processes=2"]
    two_steps, resumed = [*shared, *NOISY, "trainer.max_steps=2"], [*shared, *NOISY, "trainer.max_steps=4"]
    runs = {
        "plain": [*shared, *PLAIN, *REGRESSION, "loader.batch_size=3"],
        "whole": [*resumed, "trainer.evaluate_every=2", "trainer.save_every=3", "trainer.peak_tflops=1"],
        "cut": two_steps,
        "resumed": [*resumed, f"resume={folder / 'cut'}"],
        "at_its_end": [*resumed, f"resume={folder / 'cut'}"],
        "grown": [*resumed, f"resume={folder / 'alone'}", OTHER],
        "failing": two_steps,
    }
    (folder / "runs.json").write_text(json.dumps(list(runs.items())))
    return Done(folder, torchrun(SCRIPT, str(folder)), settings)


@pytest.mark.slow
def test_a_sharded_model_computes_what_a_full_one_does(done: Done) -> None:
    """Gradients, clipping, averages, Muon, refusals, a full disk: the script holds them against a full computation."""
    assert {path.name for path in done.folder.glob("checked.*")} == {"checked.0", "checked.1"}, done.said.stderr


@pytest.mark.slow
def test_two_processes_take_the_steps_of_one_with_their_batches(done: Done) -> None:
    one = train(
        compose([*done.settings, *PLAIN, *REGRESSION, "loader.batch_size=6"]), run_dir=done.folder / "plain_alone"
    )
    two = done.figures("plain")
    assert "2 processes (FSDP2 over gloo)" in done.said.stdout
    assert "DDP" not in done.said.stdout
    for name in ("model", "ema"):
        theirs, ours = (
            read(latest_checkpoint(done.folder / run) / name, like=lambda _: None) for run in ("plain_alone", "plain")
        )
        assert ours.keys() == theirs.keys()
        for key, tensor in theirs.items():
            torch.testing.assert_close(ours[key], tensor, rtol=0, atol=1e-6)
    # Of five held-out clips one process has three.
    for name in ("evaluation/clips", "alignment/colour_questions", "generation/clips", "parameters/trained"):
        assert two[name] == one[name]
    assert two["visual/teacher_forced"] == pytest.approx(one["visual/teacher_forced"], abs=1e-4)


@pytest.mark.slow
def test_a_resumed_run_equals_an_uninterrupted_one_in_every_process(done: Done) -> None:
    whole = done.figures("whole")
    for name in ("digest/trained", "digest/ema"):
        for process in (0, 1):
            assert done.figures("whole", process)[name] == done.figures("resumed", process)[name] == whole[name]
    assert done.figures("at_its_end")["visual/rollout"] == done.figures("resumed")["visual/rollout"]
    assert done.figures("at_its_end")["steps"] == 4


@pytest.mark.slow
def test_a_checkpoint_is_of_parts_without_pickles_and_read_by_one_process(done: Done, tmp_path: Path) -> None:
    checkpoint = latest_checkpoint(done.folder / "whole")
    assert {file.suffix for file in checkpoint.rglob("*") if file.is_file()} == {".safetensors", ".json"}
    assert len(list((checkpoint / "model").iterdir())) == 2
    assert not list(checkpoint.parent.glob(".partial-*"))
    _, _, model = load_run(str(done.folder / "whole"), outputs=str(done.folder / "outputs"))
    assert digest(saved_tensors(model)) == done.figures("whole")["digest/ema"]
    load_weights(checkpoint, model)
    assert digest(saved_tensors(model)) == done.figures("whole")["digest/trained"]
    assert digest(load_average(checkpoint, model) | persistent_buffers(model)) == done.figures("whole")["digest/ema"]
    broken = tmp_path / checkpoint.name
    shutil.copytree(checkpoint, broken)
    next((broken / "model").iterdir()).unlink()
    with pytest.raises(UserError, match=r"is incomplete: model/shard-0000\d-.* is missing"):
        load_weights(broken, model)


@pytest.mark.slow
def test_another_number_of_processes_resumes_if_allowed(done: Done, caplog: pytest.LogCaptureFixture) -> None:
    assert done.figures("grown")["steps"] == 4
    assert done.figures("grown", 1)["digest/trained"] == done.figures("grown")["digest/trained"]
    # Two steps of 4 clips, then two of 8.
    assert read_state(latest_checkpoint(done.folder / "alone"))["samples"] == 24
    alone = [*done.settings, *NOISY, "trainer.max_steps=6", f"resume={done.folder / 'cut'}"]
    with pytest.raises(UserError, match=r"another configuration \(trainer.parallel._target_ was"):
        train(compose(alone))
    with pytest.raises(UserError, match=r"saved by 2 processes .*'resume.allow=\[trainer.processes\]'"):
        train(compose([*alone, "resume.allow=[trainer.parallel]"]))
    with caplog.at_level(logging.WARNING):
        assert train(compose([*alone, OTHER]))["steps"] == 6
    assert "resumed by 1: the clips continue in order after the first 32" in caplog.text
    assert read_state(latest_checkpoint(done.folder / "cut"))["samples"] == 32 + 2 * 4


@pytest.mark.slow
def test_one_process_that_fails_ends_both(done: Done) -> None:
    assert done.said.returncode != 0
    assert "RuntimeError: the second process fails" in done.said.stderr
    assert not (done.folder / "failing.0.json").exists()
    assert (done.folder / "grown.0.json").exists()


def test_a_single_process_is_refused_with_the_command_for_two(tiny_run: list[str], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"fsdp2 needs at least two .* torchrun --nproc_per_node 2 train.py"):
        train(compose([*tiny_run, FSDP2]), run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()
