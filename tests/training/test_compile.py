"""torch.compile: the same losses, the same names, and a one-line error if it cannot run."""

import json
from pathlib import Path

import pytest
import torch
import torch._inductor.config as inductor
from safetensors.torch import load_file
from torch import nn

from vtok.cli.verbs.evaluate import evaluate
from vtok.common.errors import UserError
from vtok.config import compose
from vtok.model.build import build_model
from vtok.training import train
from vtok.training.checkpoint import list_checkpoints
from vtok.training.compile import blocks, compile_blocks, eager


def losses_of(run_dir: Path) -> list[float]:
    batches = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    return [value for batch in batches for name, value, *_ in batch if name == "train/loss"]


def test_the_blocks_are_those_that_repeat(tiny_settings: list[str]) -> None:
    config = compose([*tiny_settings, "mllm.layers=2", "objective=joint", "decoder.double_layers=2"])
    model = build_model(config)
    names = {id(one): name for name, one in model.named_modules()}
    chosen = [names[id(one)] for one in blocks(model)]
    assert chosen[:3] == ["tokeniser.backbone", "mllm.model.model.layers.0", "mllm.model.model.layers.1"]
    assert {name.rpartition(".")[0] for name in chosen[3:]} >= {"decoder.transformer.transformer_blocks"}
    before = list(model.state_dict())
    compile_blocks(model)
    assert list(model.state_dict()) == before
    assert all(one._compiled_call_impl is not None for one in blocks(model))


def test_within_an_evaluation_it_runs_as_written() -> None:
    layer, seen = nn.Linear(2, 2), []
    layer.register_forward_hook(lambda *_: seen.append(torch.compiler.is_compiling()))
    layer.compile(backend="eager")
    layer(torch.zeros(1, 2))
    with eager(True):
        layer(torch.zeros(1, 2))
    with eager(False):
        layer(torch.zeros(1, 2))
    assert seen == [True, False, True]


def test_without_a_compiler_the_run_is_refused_before_it_starts(tiny_run: list[str], tmp_path: Path) -> None:
    torch._dynamo.reset()
    config = compose([*tiny_run, "trainer.compile=true"])
    sentence = r"^trainer\.compile=true: .*No working C\+\+ compiler.*trainer\.compile=false"
    nowhere = inductor.patch({"cpp.cxx": (None, str(tmp_path / "nowhere"))})
    with nowhere, pytest.raises(UserError, match=sentence) as told:
        train(config, run_dir=tmp_path / "run")
    assert "\n" not in str(told.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_compiled_run_has_the_same_losses_and_resumes(tiny_run: list[str], tmp_path: Path) -> None:
    settings = [*tiny_run[:-2], tiny_run[-1], "scheduler=constant", "trainer.log_every=1", "trainer.save_every=2"]
    settings += ["tracking=mlflow", f"tracking.uri=sqlite:///{tmp_path}/mlflow.db", "tracking.system_metrics=false"]
    compiled = [*settings, "trainer.compile=true"]
    train(compose([*settings, "trainer.max_steps=4"]), run_dir=tmp_path / "plain")
    torch._dynamo.utils.counters.clear()
    whole = train(compose([*compiled, "trainer.max_steps=4"]), run_dir=tmp_path / "whole")
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] >= 2
    truth = losses_of(tmp_path / "plain")
    assert len(truth) == 4
    assert losses_of(tmp_path / "whole") == pytest.approx(truth, abs=1e-5)
    train(compose([*compiled, "trainer.max_steps=2"]), run_dir=tmp_path / "cut")
    resumed = train(compose([*compiled, "trainer.max_steps=4", f"resume={tmp_path / 'cut'}"]))
    assert losses_of(tmp_path / "cut") == pytest.approx(truth, abs=1e-5)
    saved = [list_checkpoints(tmp_path / name / "checkpoints")[-1] for name in ("plain", "whole")]
    assert len({tuple(load_file(one / "model.safetensors")) for one in saved}) == 1
    again = evaluate(run=str(tmp_path / "whole"), outputs=str(tmp_path / "outputs"))
    assert again == {name: whole[name] for name in again}
    assert resumed["digest/trained"] == whole["digest/trained"]
