"""A training step does not wait for the device: it runs on the meta device, whose tensors have no values to read."""

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from vtok.config import compose
from vtok.hub.toys import make_toys
from vtok.model import VideoLanguageModel
from vtok.model.batch import Batch
from vtok.model.build import build_optimiser
from vtok.training.ema import Ema
from vtok.training.loop import Start
from vtok.training.step_numbers import StepNumbers, add_losses

CPU, META = torch.device("cpu"), torch.device("meta")
ATEN = torch.ops.aten
JOINT = "objective=joint"
OBJECTIVES = (
    (),
    (JOINT, "optimiser=adamw"),
    ("objective=generation", "visual_head=mixture"),
    (JOINT, "visual_head=regression", "objective.condition_on_caption=true"),
)
TOKENISERS = (
    "frame_sampling", "delta", "evs", "frequency", "grouped_ttm", "kmeans", "llama_vid", "resampler", "slow_fast",
    "token_learner", "tome", "uniform", "vidcom2",
)  # fmt: skip


class Waits(TorchDispatchMode):
    """Records what else would wait for a GPU: copies to the device that the host waits for, and mixed devices."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        tensors = [one for one in tree_leaves((args, kwargs)) if isinstance(one, torch.Tensor)]
        devices = {one.device for one in tensors if one.ndim > 0}
        copies = func is ATEN._to_copy.default and kwargs.get("device") == META and tensors[0].device == CPU
        if not kwargs.get("non_blocking") if copies else len(devices) > 1:
            self.found.append(str(func))
        return func(*args, **kwargs)


class HostTables(TorchFunctionMode):
    """Records tensors on the device that are made of the host's numbers: a copy that is not dispatched."""

    def __init__(self, found: list[str]) -> None:
        super().__init__()
        self.found = found

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        if func is torch.tensor and made.device == META:
            self.found.append("torch.tensor")
        return made


@pytest.fixture
def no_autocast(monkeypatch: pytest.MonkeyPatch) -> None:
    """The meta device has no autocast."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())


@pytest.fixture
def step(model_and_batches: Callable[..., tuple[VideoLanguageModel, Iterator[Batch]]]) -> Callable[[list[str]], Waits]:
    """Takes a training step on the meta device, as `run_loop` does, and returns what it would wait for."""

    def take(overrides: list[str]) -> Waits:
        config = compose(overrides)
        model, batches = model_and_batches(config, start=Start(step=0, samples=0))
        batch = next(batches)
        text = batch.captions if batch.text is None else batch.text
        assert len(set(text.mask.sum(1).tolist())) > 1, "rows of one length would hide what padding asks for"
        model.to(META)
        optimiser, ema = build_optimiser(config, model), Ema(model, decay=0.9)
        parameters = [weight for group in optimiser.param_groups for weight in group["params"]]
        losses: dict[str, torch.Tensor] = {}
        weights = {"under": 0.5, "visLM": 0.5, "dec": 0.5}
        with Waits() as waits, HostTables(waits.found):
            parts = model(batch.to(META), weights)
            parts["loss"].backward()
            add_losses(losses, parts, weights, processes=1)
            norm = torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            StepNumbers().add(losses, norm, step=1)
            optimiser.step()
            optimiser.zero_grad()
            model.end_step()
            ema.update()
        return waits

    return take


@pytest.mark.usefixtures("no_autocast")
@pytest.mark.parametrize("overrides", OBJECTIVES, ids=" ".join)
def test_a_step_of_each_objective(overrides: tuple[str, ...], tiny_run: list[str], step: Any) -> None:
    assert step([*tiny_run, *overrides]).found == []


@pytest.mark.usefixtures("no_autocast")
@pytest.mark.parametrize("tokeniser", TOKENISERS)
def test_a_step_of_each_tokeniser(tokeniser: str, tiny_run: list[str], step: Any) -> None:
    """Not of `random`, whose draws depend on the pixels, nor of those that need files or a large backbone."""
    assert step([*tiny_run, f"tokeniser={tokeniser}"]).found == []


@pytest.mark.usefixtures("no_autocast")
def test_a_step_of_the_papers_models(tmp_path: Path, step: Any) -> None:
    make_toys(tmp_path / "toys")
    settings = ["recipe=paper_tiny", f"outputs={tmp_path}", "data.train_clips=8", "data.make_workers=1"]
    for more in ([], ["mllm.lora={rank: 4}", "mllm.dtype=bfloat16", "tokeniser=visionzip", "tokeniser.num_tokens=6"]):
        assert step([*settings, *more]).found == []


def test_what_waits_is_found(tiny_run: list[str], monkeypatch: pytest.MonkeyPatch, step: Any) -> None:
    """A read of a value fails; a copy that blocks, a table from the host, and indices on the CPU are recorded."""
    values = torch.ones(3, device=META)
    for read in (
        lambda: values.sum().item(),
        lambda: bool(values.any()),
        lambda: values.tolist(),
        lambda: values.cpu(),
        lambda: values.nonzero(),
        lambda: values[values > 0],
    ):
        with pytest.raises((RuntimeError, NotImplementedError)):
            read()
    with Waits() as waits, HostTables(waits.found):
        torch.ones(3).to(META)
        torch.tensor([1.0, 2.0], device=META)
        values[torch.tensor([0, 1])]
        torch.ones(3).to(META, non_blocking=True)
    assert waits.found == ["aten._to_copy.default", "torch.tensor", "aten.index.Tensor"]
    monkeypatch.setattr(Ema, "update", lambda self: [bool(one.any()) for one in self.state().values()])
    with pytest.raises(RuntimeError, match="meta"):
        step(tiny_run)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("overrides", OBJECTIVES, ids=" ".join)
def test_steps_on_a_gpu(overrides: tuple[str, ...], tiny_run: list[str], model_and_batches: Any) -> None:
    """Two steps, the first of which warms up, in torch's own mode that raises where the host waits."""
    config = compose([*tiny_run, *overrides])
    model, batches = model_and_batches(config, start=Start(step=0, samples=0))
    model.to("cuda")
    optimiser = build_optimiser(config, model)
    for mode in ("default", "error"):
        batch = next(batches).pin_memory()
        torch.cuda.synchronize()
        torch.cuda.set_sync_debug_mode(mode)
        try:
            model(batch.to(torch.device("cuda")))["loss"].backward()
            optimiser.step()
            optimiser.zero_grad()
            model.end_step()
        finally:
            torch.cuda.set_sync_debug_mode("default")
