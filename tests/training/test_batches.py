"""Batches on their way to a GPU."""

from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from vtok.config import compose
from vtok.model import VideoLanguageModel
from vtok.model.batch import Batch
from vtok.training import batches as loading
from vtok.training.loop import Start

Make = Callable[..., tuple[VideoLanguageModel, Iterator[Batch]]]


def tensors_of(value: Any) -> list[Tensor]:
    """All tensors in the fields of data classes."""
    if isinstance(value, Tensor):
        return [value]
    return (
        [one for each in fields(value) for one in tensors_of(getattr(value, each.name))] if is_dataclass(value) else []
    )


def test_every_tensor_of_a_batch_is_pinned_and_moved(
    tiny_run: list[str], model_and_batches: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, batches = model_and_batches(compose([*tiny_run, "objective=joint"]), start=Start(step=0, samples=0))
    batch = next(batches)
    pinned: list[Tensor] = []

    def pin(tensor: Tensor) -> Tensor:
        pinned.append(tensor.clone())
        return pinned[-1]

    monkeypatch.setattr(Tensor, "pin_memory", pin)
    copy = batch.pin_memory()
    assert len(pinned) == len(tensors_of(batch)) > 10
    assert {id(one) for one in tensors_of(copy)} == {id(one) for one in pinned}
    assert all(torch.equal(one, other) for one, other in zip(tensors_of(copy), tensors_of(batch), strict=True))
    assert (copy.prompts, copy.bad, copy.counts()) == (batch.prompts, batch.bad, batch.counts())
    there = copy.to(torch.device("meta"))
    assert all(one.is_meta for one in tensors_of(there))
    assert there.video.counts == tuple(batch.video.mask.sum(1).tolist())


@pytest.mark.parametrize(
    ("gpu", "device", "pinned"), [(True, "auto", True), (True, "cpu", False), (False, "auto", False)]
)
def test_batches_are_pinned_if_the_model_is_on_a_gpu(
    gpu: bool, device: str, pinned: bool, tiny_run: list[str], model_and_batches: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr(loading, "DataLoader", lambda *_, pin_memory, **__: asked.append(pin_memory) or [])
    _, batches = model_and_batches(compose([*tiny_run, f"trainer.device={device}"]), start=Start(step=0, samples=0))
    assert list(batches) == []
    assert asked == [pinned]


@pytest.mark.parametrize(
    ("settings", "keep_bytes"),
    [
        (["loader.memory_mb=6"], 6_000_000),
        (["loader.memory_mb=6", "loader.num_workers=3"], 2_000_000),
        (["loader.memory_mb=0"], 0),
        (["loader.memory_mb=6", "data/augmentation=standard", "data.augmentation.left_right=keep"], 0),
    ],
)
def test_clips_stay_in_memory_unless_they_are_augmented(
    settings: list[str],
    keep_bytes: int,
    tiny_run: list[str],
    model_and_batches: Make,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[int] = []
    monkeypatch.setattr(loading, "ClipDataset", lambda *_, keep_bytes, **__: asked.append(keep_bytes))
    monkeypatch.setattr(loading, "DataLoader", lambda *_, **__: [])
    _, batches = model_and_batches(compose([*tiny_run, *settings]), start=Start(step=0, samples=0))
    assert list(batches) == []
    assert asked == [keep_bytes]
