"""The GPU memory of training without activations, calculated without torch."""

from dataclasses import dataclass, fields

FLOAT32 = 4
GPUS = (1, 2, 4, 8)


@dataclass(frozen=True)
class Memory:
    """Memory in bytes, by use.

    Attributes:
        frozen: frozen weights.
        weights: trained weights.
        gradients: gradients of the trained weights.
        optimiser: state of the optimiser.
        average: float32 moving average of the trained weights.
    """

    frozen: int = 0
    weights: int = 0
    gradients: int = 0
    optimiser: int = 0
    average: int = 0

    def __add__(self, other: "Memory") -> "Memory":
        return Memory(**{one.name: getattr(self, one.name) + getattr(other, one.name) for one in fields(self)})

    @property
    def trained(self) -> int:
        """Memory of everything but the frozen weights."""
        return self.total - self.frozen

    @property
    def total(self) -> int:
        return sum(getattr(self, one.name) for one in fields(self))


@dataclass(frozen=True)
class MemoryPerGpu:
    """Bytes on each of a number of GPUs.

    Attributes:
        gpus: number of GPUs.
        replicated: with DDP: everything on every GPU.
        trained_sharded: with FSDP2 for trained weights: frozen weights are on every GPU.
        sharded: with FSDP2 for all weights.
    """

    gpus: int
    replicated: int
    trained_sharded: int
    sharded: int


def parameter_memory(count: int, *, size: int, optimiser: int | None, average: bool) -> Memory:
    """The memory of `count` parameters.

    Args:
        count: number of parameters.
        size: bytes of a parameter: 4 for float32, 2 for bfloat16 and float16 (frozen ones only).
        optimiser: bytes of the optimiser's state for all of them (8 each for Adam); None: they are frozen.
        average: whether trained parameters have a moving average.
    """
    if optimiser is None:
        return Memory(frozen=count * size)
    return Memory(
        weights=count * size,
        gradients=count * size,
        optimiser=optimiser,
        average=count * FLOAT32 if average else 0,
    )


def memory_per_gpu(memory: Memory) -> list[MemoryPerGpu]:
    """The memory on each GPU, for each number of `GPUS`. Shards are rounded up to a byte."""
    return [
        MemoryPerGpu(
            gpus=number,
            replicated=memory.total,
            trained_sharded=memory.frozen + -(-memory.trained // number),
            sharded=-(-memory.total // number),
        )
        for number in GPUS
    ]


def gigabytes(count: int) -> str:
    """A number of bytes in units of 10^9, with more digits for small numbers."""
    value = count / 1e9
    if not count:
        return "0"
    if value < 0.0001:
        return "<0.0001"
    return f"{value:,.{1 if value >= 10 else 2 if value >= 0.1 else 4}f}"
