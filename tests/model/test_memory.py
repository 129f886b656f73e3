"""The memory of training, against values calculated by hand."""

import pytest

from vtok.model.memory import Memory, gigabytes, memory_per_gpu, parameter_memory

PAPER = 8_050_000_000  # parameters of the trained language model
FROZEN = 13_500_000_000  # parameters in bf16, 27 GB


def test_the_memory_at_the_scale_of_the_paper() -> None:
    """fp32 weights and gradients 64 GB, Adam 64 GB, EMA 32 GB, frozen 27 GB: 188 GB."""
    trained = parameter_memory(PAPER, size=4, optimiser=8 * PAPER, average=True)
    frozen = parameter_memory(FROZEN, size=2, optimiser=None, average=True)
    assert round((trained.weights + trained.gradients) / 1e9) == 64
    assert round(trained.optimiser / 1e9) == 64
    assert round(trained.average / 1e9) == 32
    assert frozen == Memory(frozen=27_000_000_000)
    assert round((trained + frozen).total / 1e9) == 188


@pytest.mark.parametrize(
    ("size", "optimiser", "average", "wanted"),
    [
        (4, 8, False, 4 + 4 + 8),
        (4, 4, True, 4 + 4 + 4 + 4),
        (4, 0, False, 4 + 4),
        (2, None, True, 2),
    ],
)
def test_bytes_of_a_parameter(size: int, optimiser: int | None, average: bool, wanted: int) -> None:
    state = None if optimiser is None else 7 * optimiser
    assert parameter_memory(7, size=size, optimiser=state, average=average).total == 7 * wanted


def test_the_memory_of_full_fine_tuning_on_1_to_8_gpus() -> None:
    memory = parameter_memory(PAPER, size=4, optimiser=8 * PAPER, average=True) + Memory(frozen=27_000_000_000)
    one, two, four, eight = memory_per_gpu(memory)
    assert [each.gpus for each in (one, two, four, eight)] == [1, 2, 4, 8]
    assert one.replicated == one.trained_sharded == one.sharded == memory.total == eight.replicated
    assert eight.sharded == memory.total // 8
    assert eight.trained_sharded == 27_000_000_000 + memory.trained // 8


def test_gigabytes_have_more_digits_for_small_numbers() -> None:
    counts = (0, 9, 3_400_000, 640_000_000, 188_000_000_000)
    assert [gigabytes(count) for count in counts] == ["0", "<0.0001", "0.0034", "0.64", "188.0"]
