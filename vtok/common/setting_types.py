"""Types of settings that several components share; cheap to import."""

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le, Lt

Count = Annotated[int, Ge(1)]
CountOrZero = Annotated[int, Ge(0)]
Positive = Annotated[float, Gt(0)]
NotNegative = Annotated[float, Ge(0)]
Fraction = Annotated[float, Ge(0), Le(1)]
PositiveFraction = Annotated[float, Gt(0), Le(1)]
FractionBelowOne = Annotated[float, Ge(0), Lt(1)]
Betas = tuple[FractionBelowOne, FractionBelowOne]
# Learning rates; optimisers compute in float32.
Rate = Annotated[float, Ge(0), Le(3.4e38)]
Seed = Annotated[int, Ge(0), Lt(2**64)]
# Video i of a prompts file has seed + i, which must fit 64 bits.
VideoSeed = Annotated[int, Ge(0), Lt(2**63)]
Dtype = Literal["float32", "float16", "bfloat16"]


@dataclass(frozen=True)
class MultipleOfSetting:
    """An integer that is a multiple of `times` x another setting of the same component."""

    setting: str
    times: int = 1


@dataclass(frozen=True)
class OneMoreThanMultipleOf:
    """An integer k * `step` + 1."""

    step: int
