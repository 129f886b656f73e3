"""`conf/tokeniser` and `conf/tokeniser/motion_pooling`: feature maps to video tokens."""

from dataclasses import dataclass
from typing import Any

from omegaconf import MISSING

from vtok.plan import KeyFramePlanner, StridePlanner


@dataclass
class VTokTokeniser:
    _target_: str = "vtok.tokeniser.VTokTokeniser"
    backbone: Any = MISSING
    grid_size: int = 4
    stride: int = 6
    token_dim: int | None = None
    key_frame: Any = "first"
    motion_pooling: Any = MISSING
    residual_scale: float = 1.0

    def planner(self) -> StridePlanner:
        return StridePlanner(self.stride, self.key_frame, key_tokens=self.grid_size**2, frame_tokens=1)


@dataclass
class FrameSamplingTokeniser:
    _target_: str = "vtok.tokeniser.FrameSamplingTokeniser"
    backbone: Any = MISSING
    grid_size: int = 2
    stride: int = 6
    token_dim: int | None = None

    def planner(self) -> StridePlanner:
        return StridePlanner(self.stride, key_tokens=self.grid_size**2, frame_tokens=self.grid_size**2)


@dataclass
class KeyFrameTokeniser:
    _target_: str = "vtok.tokeniser.KeyFrameTokeniser"
    backbone: Any = MISSING
    grid_size: int = 4
    stride: int = 6
    token_dim: int | None = None
    key_frame: Any = "first"

    def planner(self) -> StridePlanner:
        return KeyFramePlanner(self.stride, self.key_frame, key_tokens=self.grid_size**2)


@dataclass
class MeanPooling:
    _target_: str = "vtok.tokeniser.MeanPooling"
    _partial_: bool = True


@dataclass
class GridPooling:
    _target_: str = "vtok.tokeniser.GridPooling"
    _partial_: bool = True
    size: int = 2


@dataclass
class AttentionPooling:
    _target_: str = "vtok.tokeniser.AttentionPooling"
    _partial_: bool = True
    size: int = 8
