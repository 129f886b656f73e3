"""The arithmetic against the counts in the design, and against what PyTorch itself keeps."""

import pytest

from vtok.model.memory import Memory, gigabytes, memory, shares

PAPER = 8_050_000_000  # parameters of the trained language model
FROZEN = 13_500_000_000  # of bf16, 27 GB


def test_the_papers_scale_as_the_design_counts_it() -> None:
    """fp32 weights and gradients 64 GB, Adam 64 GB, EMA 32 GB, frozen 27 GB: 188 GB."""
    trained = memory(PAPER, size=4, kept=8 * PAPER, average=True)
    frozen = memory(FROZEN, size=2, kept=None, average=True)
    assert round((trained.weights + trained.gradients) / 1e9) == 64
    assert round(trained.optimiser / 1e9) == 64
    assert round(trained.average / 1e9) == 32
    assert frozen == Memory(frozen=27_000_000_000)
    assert round((trained + frozen).total / 1e9) == 188


@pytest.mark.parametrize(
    ("size", "kept", "average", "wanted"),
    [
        (4, 8, False, 4 + 4 + 8),
        (4, 4, True, 4 + 4 + 4 + 4),
        (4, 0, False, 4 + 4),
        (2, None, True, 2),
    ],
)
def test_bytes_a_parameter(size: int, kept: int | None, average: bool, wanted: int) -> None:
    whole = None if kept is None else 7 * kept
    assert memory(7, size=size, kept=whole, average=average).total == 7 * wanted


def test_full_fine_tuning_is_shared_by_eight_gpus() -> None:
    whole = memory(PAPER, size=4, kept=8 * PAPER, average=True) + Memory(frozen=27_000_000_000)
    one, two, four, eight = shares(whole)
    assert [share.gpus for share in (one, two, four, eight)] == [1, 2, 4, 8]
    assert one.replicated == one.trained_sharded == one.sharded == whole.total == eight.replicated
    assert eight.sharded == whole.total // 8
    assert eight.trained_sharded == 27_000_000_000 + whole.trained // 8


def test_figures() -> None:
    counts = (0, 9, 3_400_000, 640_000_000, 188_000_000_000)
    assert [gigabytes(count) for count in counts] == ["0", "<0.0001", "0.0034", "0.64", "188.0"]
