"""Several processes: started by torchrun, as a user does."""

import json
import logging
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from subprocess import CompletedProcess

import pytest
import torch
from safetensors.torch import load_file

from vtok.common.distributed import gathered, gathered_tensors
from vtok.common.errors import UserError
from vtok.config import compose
from vtok.model.build import build
from vtok.model.objective import LOSSES
from vtok.runs.folder import read_status
from vtok.training import distributed, train
from vtok.training.step_batches import Report, combine_reports

# Without adaptive steps, so that a gradient shows in the weights as it is.
PLAIN = ("optimiser=sgd", "optimiser.lr=0.1", "scheduler=constant", "scheduler.num_warmup_steps=0")
JOINT = ("objective=joint", "visual_head=regression", "decoder=none", "objective.lambda_dec=0", "trainer.ema_decay=0.9")
TRAIN = Path(__file__).resolve().parents[2] / "train.py"
Torchrun = Callable[..., CompletedProcess[str]]


def weights(run_dir: Path) -> dict[str, torch.Tensor]:
    return load_file(run_dir / "checkpoints" / "step-00000003" / "model.safetensors")


def test_two_processes_take_the_steps_of_one_with_their_batches(
    torchrun: Torchrun, tiny_run: list[str], tmp_path: Path
) -> None:
    """The texts of clips differ in length, so that a mean over means would not be the mean over answers."""
    settings = [*tiny_run, *PLAIN, *JOINT, "data.train_clips=16", "data.validation_clips=5", "data.test_clips=5"]
    one = train(compose([*settings, "loader.batch_size=6"]), run_dir=tmp_path / "one")
    done = torchrun(TRAIN, *settings, "loader.batch_size=3", "trainer.processes=2", f"hydra.run.dir={tmp_path / 'two'}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("2 processes (DDP over gloo)") == 1
    two = json.loads((tmp_path / "two" / "summary.json").read_text())
    for name, tensor in weights(tmp_path / "one").items():
        torch.testing.assert_close(weights(tmp_path / "two")[name], tensor, rtol=0, atol=1e-6)
    # Each process evaluates its share of the clips.
    for name in ("evaluation/clips", "alignment/colour_questions", "generation/clips"):
        assert two[name] == one[name]
    assert two["visual/teacher_forced"] == pytest.approx(one["visual/teacher_forced"], abs=1e-4)
    assert read_status(tmp_path / "two")["status"] == "finished"
    listed = (tmp_path / "outputs" / "runs.txt").read_text().split()
    assert listed.count(str(tmp_path / "two")) == 1


@pytest.mark.slow
def test_two_resumed_processes_equal_an_uninterrupted_run(
    torchrun: Torchrun, tiny_run: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """With dropout and noise, of which each process has its own."""
    settings = [*tiny_run, "objective=joint", "visual_head.width=16", "visual_head.steps=2", "data.families=[motion]"]
    settings += ["decoder.num_frames=4", "decoder.heads=2", "decoder.head_dim=12", "generation.steps=2"]
    settings += ["scheduler=constant", "trainer.save_every=2"]

    def run(name: str, *more: str) -> dict[str, object]:
        done = torchrun(TRAIN, *settings, *more, f"hydra.run.dir={tmp_path / name}")
        assert done.returncode == 0, done.stderr
        return json.loads((tmp_path / name / "summary.json").read_text())

    whole = run("whole", "trainer.max_steps=4")
    run("cut", "trainer.max_steps=2")
    resumed = run("cut", "trainer.max_steps=4", f"resume={tmp_path / 'cut'}")
    assert resumed["digest/trained"] == whole["digest/trained"]
    alone = [*settings, "trainer.max_steps=6", f"resume={tmp_path / 'cut'}"]
    with pytest.raises(UserError, match="saved by 2 processes"):
        train(compose(alone))
    with caplog.at_level(logging.WARNING):
        assert train(compose([*alone, "resume.allow=[trainer.processes]"]))["steps"] == 6
    assert "resumed by 1: the clips continue in order after the first 32" in caplog.text


@pytest.mark.slow
def test_one_process_that_fails_ends_all_with_its_error(
    torchrun: Torchrun, tiny_run: list[str], tmp_path: Path
) -> None:
    script = tmp_path / "failing.py"
    script.write_text(
        "import os, sys\n"
        "from vtok.cli.main import main\n"
        "from vtok.training import loop\n"
        "take = loop.take_batches\n"
        "def failing(*arguments, **named):\n"
        "    if os.environ['RANK'] == '1':\n"
        "        raise RuntimeError('the second process fails')\n"
        "    return take(*arguments, **named)\n"
        "loop.take_batches = failing\n"
        "sys.exit(main(['train', *sys.argv[1:]]))\n"
    )
    done = torchrun(script, *tiny_run, f"hydra.run.dir={tmp_path / 'run'}")
    assert done.returncode != 0
    assert "the second process fails" in done.stderr


def test_another_number_of_processes_than_was_asked_for_is_refused(tiny_run: list[str], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"trainer.processes=2: 1 process was started\. .*torchrun --nproc_per_node 2"):
        train(compose([*tiny_run, "trainer.processes=2"]), run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_two_processes_agree_on_a_step(torchrun: Torchrun, tmp_path: Path) -> None:
    done = torchrun(Path(__file__).with_name("agree_script.py"), str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert sorted(file.name for file in tmp_path.iterdir()) == ["0", "1"]


def test_a_process_alone_agrees_with_itself() -> None:
    own = Report(counts={"under": 7, "visLM": 0, "dec": 2}, unmeasured=True, bad=[("a.mp4", "it is empty")], signal=15)
    assert combine_reports(own) == own
    mistaken = Report(counts=dict.fromkeys(LOSSES, 0), mistake="all clips are broken")
    with pytest.raises(UserError, match="all clips are broken"):
        combine_reports(mistaken)


def test_a_single_process_does_not_communicate() -> None:
    values = torch.randn(5, 3)
    assert gathered("mine") == ["mine"]
    (only,) = gathered_tensors(values)
    assert only is values


def test_micro_batches_of_a_step_make_the_step(tiny_run: list[str], tmp_path: Path) -> None:
    """The scale of the tokens that are predicted is that of the step, however it is divided."""
    settings = [*tiny_run, *PLAIN, *JOINT, "data.train_clips=16"]
    train(compose([*settings, "loader.batch_size=6"]), run_dir=tmp_path / "one")
    train(compose([*settings, "loader.batch_size=3", "trainer.accumulate=2"]), run_dir=tmp_path / "two")
    for name, tensor in weights(tmp_path / "one").items():
        torch.testing.assert_close(weights(tmp_path / "two")[name], tensor, rtol=0, atol=1e-6)


def test_processes_on_gpus_exchange_numbers_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[object] = []
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", calls.append)
    monkeypatch.setattr(distributed.dist, "init_process_group", lambda *given, **named: calls.append((given, named)))
    distributed.connect_gpus(timedelta(hours=1))
    assert calls == [1, (("cpu:gloo,cuda:nccl",), {"timeout": timedelta(hours=1)})]
    monkeypatch.setenv("WORLD_SIZE", "1")
    distributed.connect_gpus(timedelta(hours=1))
    assert len(calls) == 2


def test_mistakes_of_a_launch_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    with pytest.raises(UserError, match=r"WORLD_SIZE=4 is set without LOCAL_RANK\. .* torchrun, or unset WORLD_SIZE\."):
        build(compose(["trainer.device=cpu"]).trainer).accelerator()
    monkeypatch.setenv("LOCAL_RANK", "3")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(
        UserError, match=r"Process 3 has no GPU: this machine has 2\. Use torchrun --nproc_per_node 2\."
    ):
        distributed.connect_gpus(timedelta(hours=1))
