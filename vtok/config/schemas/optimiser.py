"""`conf/optimiser`. `moments`: the numbers that an optimiser keeps for a parameter, for `vtok plan`."""

from dataclasses import dataclass, field


@dataclass
class AdamW:
    _target_: str = "torch.optim.AdamW"
    _partial_: bool = True
    lr: float = 1e-5
    betas: list[float] = field(default_factory=lambda: [0.9, 0.999])
    eps: float = 1e-8
    weight_decay: float = 0.01

    def moments(self, *, hidden: bool) -> int:
        return 2


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

    def moments(self, *, hidden: bool) -> int:
        """Muon's one where it is Muon's, for matrices between layers; AdamW's two elsewhere."""
        return 1 if hidden else 2


@dataclass
class Sgd:
    _target_: str = "torch.optim.SGD"
    _partial_: bool = True
    lr: float = 0.1
    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float = 0.0

    def moments(self, *, hidden: bool) -> int:
        return 1 if self.momentum else 0
