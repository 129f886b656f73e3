"""Peak memory of tensors of known sizes."""

import torch

from vtok.evaluation.cost.memory import PeakMemory

MEGABYTE = 2**20


def block(megabytes: int) -> torch.Tensor:
    return torch.zeros(megabytes * MEGABYTE, dtype=torch.uint8)


def test_freed_tensors_are_subtracted() -> None:
    before = block(50)
    with PeakMemory() as memory:
        one = block(4)
        two = block(8)
        del one
        assert memory.current == 8 * MEGABYTE
        three = block(3)
        assert memory.peak == 12 * MEGABYTE
        before.add_(1)
        views = [two[::2], three.view(3, -1).t()]
        assert (memory.current, memory.peak) == (11 * MEGABYTE, 12 * MEGABYTE)
        del two, three
        assert memory.current == 11 * MEGABYTE, "a view holds what it is of"
        views.clear()
        assert memory.current == 0
    assert memory.peak == 12 * MEGABYTE


def test_tensors_of_a_frozen_module_are_counted() -> None:
    module = torch.nn.Linear(256, 256, bias=False).requires_grad_(False)
    given = torch.ones(1024, 256)
    with torch.no_grad(), PeakMemory() as memory:
        given = module(module(given))
    assert memory.peak == 2 * 1024 * 256 * 4
