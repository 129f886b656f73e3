"""`conf/decoder`: hidden states to video."""

from dataclasses import dataclass


@dataclass
class NoDecoder:
    _target_: str = "vtok.decoder.NoDecoder"
    _partial_: bool = True


@dataclass
class TinyDecoder:
    _target_: str = "vtok.decoder.TinyDecoder"
    _partial_: bool = True
    num_frames: int = 8
    size: int = 32
    patch: int = 8
    heads: int = 4
    head_dim: int = 24
    double_layers: int = 2
    single_layers: int = 2
    sketch_channels: int = 32
    shift: float = 7.0
    condition_dropout: float = 0.1
