"""What training takes of a GPU's memory before activations: arithmetic alone, no torch."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

FLOAT32 = 4
GPUS = (1, 2, 4, 8)


@dataclass(frozen=True)
class Memory:
    """Bytes.

    Attributes:
        frozen: weights that are not trained.
        weights: those that are.
        gradients: one a trained weight.
        optimiser: what the optimiser keeps.
        average: the float32 moving average of the trained weights.
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
        """All that comes of training: everything but what is frozen."""
        return self.total - self.frozen

    @property
    def total(self) -> int:
        return sum(getattr(self, one.name) for one in fields(self))


@dataclass(frozen=True)
class Share:
    """Bytes on each of `gpus` GPUs.

    Attributes:
        replicated: DDP, everything on every GPU.
        trained_sharded: FSDP2 over what is trained; what is frozen is whole on every GPU.
        sharded: FSDP2 over all.
    """

    gpus: int
    replicated: int
    trained_sharded: int
    sharded: int


def memory(count: int, *, size: int, kept: int | None, average: bool) -> Memory:
    """Of `count` parameters.

    Args:
        count: of parameters.
        size: bytes of one: 4 of float32, 2 of bfloat16 and float16, in which only frozen ones are.
        kept: bytes that the optimiser keeps for all of them (8 each of Adam); None: they are frozen.
        average: whether a moving average is kept of those that are trained.
    """
    if kept is None:
        return Memory(frozen=count * size)
    return Memory(
        weights=count * size,
        gradients=count * size,
        optimiser=kept,
        average=count * FLOAT32 if average else 0,
    )


def shares(whole: Memory, gpus: Sequence[int] = GPUS) -> list[Share]:
    """What each GPU holds, by their number. Shards are rounded up to a byte."""
    return [
        Share(
            gpus=number,
            replicated=whole.total,
            trained_sharded=whole.frozen + -(-whole.trained // number),
            sharded=-(-whole.total // number),
        )
        for number in gpus
    ]


def gigabytes(count: int) -> str:
    """10^9 bytes; as many digits as tell a small model from nothing."""
    value = count / 1e9
    if not count:
        return "0"
    if value < 0.0001:
        return "<0.0001"
    return f"{value:,.{1 if value >= 10 else 2 if value >= 0.1 else 4}f}"
