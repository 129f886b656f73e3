"""`conf/optimiser`. `kept`: the bytes that an optimiser keeps for a parameter, for `vtok plan`."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil, prod

FLOAT32 = 4


@dataclass
class AdamW:
    _target_: str = "torch.optim.AdamW"
    _partial_: bool = True
    lr: float = 1e-5
    betas: list[float] = field(default_factory=lambda: [0.9, 0.999])
    eps: float = 1e-8
    weight_decay: float = 0.01

    def kept(self, shape: Sequence[int], *, hidden: bool) -> int:
        return 2 * FLOAT32 * prod(shape)


@dataclass
class AdamW8bit:
    _target_: str = "vtok.training.adamw8bit.AdamW8bit"
    _partial_: bool = True
    lr: float = 1e-5
    betas: list[float] = field(default_factory=lambda: [0.9, 0.98])
    eps: float = 1e-8
    weight_decay: float = 0.01

    def kept(self, shape: Sequence[int], *, hidden: bool) -> int:
        """Two codes of 8 bits, and for each 256 of them a scale; two float32 numbers where there are few."""
        numbers = prod(shape)
        return 2 * FLOAT32 * numbers if numbers < 4096 else 2 * (numbers + FLOAT32 * ceil(numbers / 256))


@dataclass
class MuonAdamW:
    _target_: str = "vtok.training.muon.MuonAdamW"
    _partial_: bool = True
    lr: float = 1e-5
    hidden_lr: float = 1e-3
    momentum: float = 0.95
    betas: list[float] = field(default_factory=lambda: [0.9, 0.98])
    eps: float = 1e-8
    weight_decay: float = 0.01

    def kept(self, shape: Sequence[int], *, hidden: bool) -> int:
        """Muon's one where it is Muon's, for matrices between layers; AdamW's two elsewhere."""
        return (1 if hidden else 2) * FLOAT32 * prod(shape)


@dataclass
class Adafactor:
    _target_: str = "torch.optim.Adafactor"
    _partial_: bool = True
    lr: float = 1e-2
    beta2_decay: float = -0.8
    eps: list[float | None] = field(default_factory=lambda: [None, 1e-3])
    d: float = 1.0
    weight_decay: float = 0.0

    def kept(self, shape: Sequence[int], *, hidden: bool) -> int:
        """A number a row and a column of a matrix; one a number of a vector."""
        numbers = prod(shape)
        return FLOAT32 * (numbers // shape[-1] + numbers // shape[-2] if len(shape) > 1 else numbers)


@dataclass
class Sgd:
    _target_: str = "torch.optim.SGD"
    _partial_: bool = True
    lr: float = 0.1
    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float = 0.0

    def kept(self, shape: Sequence[int], *, hidden: bool) -> int:
        return FLOAT32 * prod(shape) if self.momentum else 0
