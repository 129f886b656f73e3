"""`conf/visual_head`: hidden states to the next video token."""

from dataclasses import dataclass


@dataclass
class NoVisualHead:
    _target_: str = "vtok.visual_head.NoVisualHead"
    _partial_: bool = True


@dataclass
class RegressionHead:
    _target_: str = "vtok.visual_head.RegressionHead"
    _partial_: bool = True
    loss: str = "mse"


@dataclass
class MixtureHead:
    _target_: str = "vtok.visual_head.MixtureHead"
    _partial_: bool = True
    components: int = 8


@dataclass
class FlowHead:
    _target_: str = "vtok.visual_head.FlowHead"
    _partial_: bool = True
    width: int = 256
    steps: int = 16
    repeats: int = 4
