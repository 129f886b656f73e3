"""`conf/tokeniser` and `conf/tokeniser/motion_pooling`: feature maps to video tokens.

A tokeniser's `budgeted` names the key that is found where `budget` is given, see `vtok.config.budget`.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

from omegaconf import MISSING

from vtok.plan import CodecMotionPlanner, KeyFramePlanner, SlowFastPlanner, StridePlanner


@dataclass
class VTokTokeniser:
    budgeted: ClassVar[str] = "stride"
    _target_: str = "vtok.tokeniser.VTokTokeniser"
    backbone: Any = MISSING
    grid_size: int = 4
    stride: int = 6
    token_dim: int | None = None
    key_frame: Any = "first"
    motion_pooling: Any = MISSING
    residual_scale: float = 1.0
    budget: int | None = None

    def planner(self) -> StridePlanner:
        return StridePlanner(
            self.stride, self.key_frame, key_tokens=self.grid_size**2, frame_tokens=1, budget=self.budget
        )


@dataclass
class CodecMotionTokeniser:
    budgeted: ClassVar[str] = "stride"
    _target_: str = "vtok.tokeniser.CodecMotionTokeniser"
    backbone: Any = MISSING
    grid_size: int = 4
    stride: int = 6
    motion_grid: int = 8
    motion_scale: float = 10.0
    token_dim: int | None = None
    budget: int | None = None

    def planner(self) -> StridePlanner:
        return CodecMotionPlanner(
            self.stride,
            key_tokens=self.grid_size**2,
            frame_tokens=1,
            budget=self.budget,
            vector_grid=self.motion_grid,
        )


@dataclass
class DeltaTokeniser:
    budgeted: ClassVar[str] = "stride"
    _target_: str = "vtok.tokeniser.DeltaTokeniser"
    backbone: Any = MISSING
    grid_size: int = 4
    stride: int = 6
    token_dim: int | None = None
    motion_pooling: Any = MISSING
    residual_scale: float = 1.0
    budget: int | None = None

    def planner(self) -> StridePlanner:
        return StridePlanner(self.stride, key_tokens=self.grid_size**2, frame_tokens=1, budget=self.budget)


@dataclass
class FrameSamplingTokeniser:
    budgeted: ClassVar[str] = "stride"
    _target_: str = "vtok.tokeniser.FrameSamplingTokeniser"
    backbone: Any = MISSING
    grid_size: int = 2
    stride: int = 6
    token_dim: int | None = None
    budget: int | None = None

    def planner(self) -> StridePlanner:
        return StridePlanner(
            self.stride, key_tokens=self.grid_size**2, frame_tokens=self.grid_size**2, budget=self.budget
        )


@dataclass
class KeyFrameTokeniser:
    budgeted: ClassVar[str] = "grid_size"
    _target_: str = "vtok.tokeniser.KeyFrameTokeniser"
    backbone: Any = MISSING
    grid_size: int = 4
    stride: int = 6
    token_dim: int | None = None
    key_frame: Any = "first"
    budget: int | None = None

    def planner(self) -> StridePlanner:
        return KeyFramePlanner(self.stride, self.key_frame, key_tokens=self.grid_size**2, budget=self.budget)


@dataclass
class ResamplerTokeniser:
    budgeted: ClassVar[str] = "num_queries"
    _target_: str = "vtok.tokeniser.ResamplerTokeniser"
    backbone: Any = MISSING
    grid_size: int = 4
    stride: int = 6
    num_queries: int = 20
    width: int = 128
    depth: int = 2
    heads: int = 4
    token_dim: int | None = None
    budget: int | None = None

    def planner(self) -> StridePlanner:
        return StridePlanner(self.stride, key_tokens=self.num_queries, frame_tokens=0, budget=self.budget)


@dataclass
class SlowFastTokeniser:
    budgeted: ClassVar[str] = "stride"
    _target_: str = "vtok.tokeniser.SlowFastTokeniser"
    backbone: Any = MISSING
    grid_size: int = 2
    slow_frames: int = 3
    fast_grid_size: int = 1
    stride: int = 4
    token_dim: int | None = None
    budget: int | None = None

    def planner(self) -> StridePlanner:
        return SlowFastPlanner(
            self.stride,
            key_tokens=self.grid_size**2,
            frame_tokens=self.fast_grid_size**2,
            slow_frames=self.slow_frames,
            budget=self.budget,
        )


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


@dataclass
class TransformerPooling:
    _target_: str = "vtok.tokeniser.TransformerPooling"
    _partial_: bool = True
    size: int = 8
    width: int = 128
    depth: int = 2
    heads: int = 4
