"""`python benchmarks/paper.py`: the tensors of a real step are those that `vtok plan` counted."""

from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import nn

from vtok.cli.verbs.plan import measure_components, model_without_weights
from vtok.config import compose
from vtok.hub.toys import make_toys
from vtok.model.build import build_model
from vtok.model.memory import Memory


@pytest.mark.parametrize("lora", [[], ["mllm.lora={rank: 4}", "mllm.dtype=bfloat16"]], ids=["all", "lora"])
def test_planned_and_counted_memory_of_the_papers_models(paper: ModuleType, lora: list[str], tmp_path: Path) -> None:
    make_toys(tmp_path / "toys")
    config = compose(["recipe=paper_tiny", f"outputs={tmp_path}", "loader.batch_size=1", *lora])
    parts, _ = measure_components(config, model_without_weights(config.copy())[0])
    planned = sum((part.memory for part in parts), Memory())
    found = paper.measure(config, planned, steps=1)
    assert found.counted == planned
    assert planned.frozen > 0
    assert planned.average > 0
    assert found.flops > 0
    assert found.saved_bytes > 0
    assert len(found.step_seconds) == 1
    shown = paper.memory_table(found) + paper.speed(found)
    assert "gradients" in shown
    assert "of the matrix rate" in shown


def test_published_weights_are_replaced_by_random_ones(
    paper: ModuleType, monkeypatch: pytest.MonkeyPatch, no_network: None
) -> None:
    """Nothing of full size is built here: the configuration that is measured is looked at."""
    measured: list[object] = []
    monkeypatch.setattr(paper, "measure", lambda config, planned, *, steps: measured.append(config) or pytest.skip)
    monkeypatch.setattr(paper, "memory_table", lambda _: "")
    monkeypatch.setattr(paper, "speed", lambda _: "")
    shown = paper.paper(overrides=["recipe=paper_lora"])
    (config,) = measured
    assert (config.backbone.weights, config.mllm.weights, config.decoder.weights) == (None, None, None)
    assert config.trainer.accumulate == 1
    assert "mllm " in shown


def test_random_weights_are_made_on_the_device(tiny_run: list[str]) -> None:
    """As `measure` does on a GPU: nothing is left on the CPU but what is read there."""
    with torch.device("meta"):
        model = build_model(compose([*tiny_run, "objective=joint"]))
    assert all(one.is_meta for one in (*model.parameters(), *model.buffers()))


def test_bytes_kept_for_the_backward_pass(paper: ModuleType) -> None:
    """The inputs of both layers; the second one's is also the output that ReLU keeps. Loss and weights are not kept."""
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
    assert paper.saved_for_backward(model, torch.ones(4, 8)) == 4 * (4 * 8 + 4 * 16)
    model.requires_grad_(False)
    assert paper.saved_for_backward(model, torch.ones(4, 8)) == 0
