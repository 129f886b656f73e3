"""Fixtures with lmms-eval if it is installed, else stand-ins for the classes that a model uses (signatures: 0.7.3)."""

import abc
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from vtok.config import compose
from vtok.model.build import build_model, build_optimiser
from vtok.runs.folder import open_run, write_status
from vtok.training.checkpoint import save_checkpoint


class StandIn(abc.ABC):
    """`lmms_eval.api.model.lmms`."""

    is_simple = True

    def __init__(self) -> None:
        self._rank = 0
        self._world_size = 1
        self.cache_hook = StandInCacheHook()
        self.task_dict: dict[str, Any] = {}

    @abc.abstractmethod
    def loglikelihood(self, requests): ...

    @abc.abstractmethod
    def generate_until(self, requests): ...

    @abc.abstractmethod
    def generate_until_multi_round(self, requests): ...

    @property
    def rank(self) -> int:
        return self._rank

    @property
    def world_size(self) -> int:
        return self._world_size


class StandInCacheHook:
    def add_partial(self, attr, req, res) -> None: ...


@dataclass
class StandInInstance:
    """`lmms_eval.api.instance.Instance`."""

    request_type: str
    arguments: tuple
    idx: int
    metadata: dict[str, Any] = field(default_factory=dict)

    @property
    def args(self) -> tuple:
        return self.arguments


@dataclass(frozen=True)
class StandInManifest:
    """`lmms_eval.models.registry_v2.ModelManifest`."""

    model_id: str
    simple_class_path: str | None = None
    chat_class_path: str | None = None
    aliases: tuple[str, ...] = ()


STAND_INS = {
    "lmms_eval": {},
    "lmms_eval.api": {},
    "lmms_eval.api.model": {"lmms": StandIn},
    "lmms_eval.api.instance": {"Instance": StandInInstance},
    "lmms_eval.models": {},
    "lmms_eval.models.registry_v2": {"ModelManifest": StandInManifest},
}
# Checked before stand-ins replace it.
INSTALLED = find_spec("lmms_eval") is not None


@pytest.fixture
def stand_ins() -> dict[str, dict[str, Any]]:
    return STAND_INS


@pytest.fixture
def lmms_eval(monkeypatch: pytest.MonkeyPatch) -> None:
    """`import lmms_eval` works."""
    if INSTALLED:
        return
    for name, content in STAND_INS.items():
        module = ModuleType(name)
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, name, module)
    # The module imported with stand-ins must not be used by other tests.
    monkeypatch.delitem(sys.modules, "vtok.lmms.model", raising=False)


@pytest.fixture(scope="session")
def run_dir(tiny_settings: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with random weights, whose answers depend on the question and the video."""
    folder = tmp_path_factory.mktemp("outputs") / "run"
    config = compose([*tiny_settings, "tokeniser.stride=3", f"outputs={folder.parent}"])
    torch.manual_seed(0)
    model = build_model(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    open_run(folder, config, [])
    optimiser = build_optimiser(config, model)
    save_checkpoint(folder / "checkpoints", model=model, optimiser=optimiser, samples=0, step=1, keep=1)
    write_status(folder, "finished", None)
    return folder


@pytest.fixture(scope="session")
def videos(make_video, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three videos of 60 frames that differ, and stand still for the first 30."""
    folder = tmp_path_factory.mktemp("videos")
    noise = np.random.default_rng(0)
    made = []
    for number in range(3):
        frames = np.repeat(np.repeat(noise.integers(0, 255, (60, 8, 8, 3), dtype=np.uint8), 8, 1), 8, 2)
        frames[:30] = frames[0]
        made.append(make_video(folder / f"{number}.mp4", frames))
    return made


@pytest.fixture
def make_model(lmms_eval: None) -> Callable[..., Any]:
    """The adapter on a run folder."""

    def make(run: Path, **settings: Any) -> Any:
        return import_module("vtok.lmms.model").VTokModel(run=str(run), **settings)

    return make


@pytest.fixture
def ask(lmms_eval: None) -> Callable[..., list[Any]]:
    """Requests of one task, as lmms-eval makes them: (text, settings or answer, visuals of the document)."""

    def requests(model: Any, kind: str, *asked: tuple[str, Any, Any]) -> list[Any]:
        instance = import_module("lmms_eval.api.instance").Instance
        model.task_dict["made"] = {"test": [{"visuals": visuals} for _, _, visuals in asked]}
        return [
            instance(
                request_type=kind,
                arguments=(text, given, lambda doc: doc["visuals"], number, "made", "test"),
                idx=0,
                metadata={"task": "made", "doc_id": number, "repeats": 1},
            )
            for number, (text, given, _) in enumerate(asked)
        ]

    return requests
