"""Plans: the frames of a clip that a tokeniser reads, known before decoding."""

import math
from dataclasses import dataclass, replace
from typing import Literal

from vtok.common.errors import UserError


@dataclass(frozen=True)
class FramePlan:
    """The frames to decode.

    Attributes:
        indices: clip-frame numbers, ascending.
        key: position of the key frame in `indices`; None if it is chosen later from the frames' content.
        vector_grid: side of the grid of motion vectors of each frame (`vtok.data.video.motion_vectors`); None: no
            motion vectors.
        change: change in grey levels for which one frame after the first is kept (`vtok.data.change`); the others are
            decoded and dropped. None: all frames are kept.
    """

    indices: tuple[int, ...]
    key: int | None
    vector_grid: int | None = None
    change: float | None = None


KeyFrame = Literal["first", "middle", "medoid", "sharpest"] | int
KEY_FRAMES = ("first", "middle", "medoid", "sharpest")
# Chosen from the frames' content.
CONTENT_KEYS = ("medoid", "sharpest")


def is_integer(value: object) -> bool:
    """Whether a value is an integer, and not a bool."""
    return isinstance(value, int) and not isinstance(value, bool)


@dataclass(frozen=True)
class StridePlanner:
    """Every stride-th frame of a clip, one of them the key frame (VTok, section 3.2).

    A clip of T frames has K = ceil(T / stride) planned frames: a key frame between two sampled frames replaces the
    nearest one. The number of tokens thus depends on T and the stride alone.

    The planner also knows the number of tokens: processes without a model use it to lay out text and tokens.

    Args:
        stride: clip frames between two planned frames, at least 1.
        key_frame: "first", "middle", "medoid" or "sharpest" of the planned frames, or a clip-frame index; negative
            indices count from the end of the clip.
        key_tokens: number of tokens of the key frame.
        frame_tokens: number of tokens of every other planned frame.
        budget: largest number of tokens of a clip; None: no limit.
    """

    stride: int
    key_frame: KeyFrame = "first"
    key_tokens: int = 16
    frame_tokens: int = 1
    budget: int | None = None

    def __post_init__(self) -> None:
        if not is_integer(self.stride) or self.stride < 1:
            raise UserError(f"tokeniser.stride={self.stride}: it counts clip frames. Use a whole number, 1 or more.")
        if not is_integer(self.key_frame) and self.key_frame not in KEY_FRAMES:
            allowed = ", ".join(KEY_FRAMES)
            raise UserError(f"tokeniser.key_frame={self.key_frame}: unknown key frame. Use {allowed} or a frame index.")

    def max_frames(self, num_frames: int) -> int:
        """Number of planned frames K of a clip of `num_frames` frames."""
        return -(-num_frames // self.stride)

    def indices(self, num_frames: int) -> list[int]:
        """Clip-frame numbers of the planned frames, ascending."""
        return list(range(0, num_frames, self.stride))

    def for_training(self) -> "StridePlanner":
        """The planner of the frames that training reads: itself, unless training draws budgets."""
        return self

    def drawn(self, number: int) -> "StridePlanner":
        """The planner of a training batch with the random number `number`: itself, unless training draws budgets."""
        return self

    def kept(self, num_read: int) -> tuple[int, ...]:
        """Positions, among the `num_read` frames that training decodes, of those that this budget uses."""
        return tuple(range(num_read))

    def num_tokens(self, num_planned: int) -> int:
        """Number of tokens of `num_planned` planned frames."""
        return self.key_tokens + self.frame_tokens * (num_planned - 1)

    def plan(self, num_frames: int, key_frame: int | None = None) -> FramePlan:
        """The plan for a clip of `num_frames` frames; `key_frame` (a clip-frame index) overrides the configured one.

        Raises:
            UserError: the clip has no frame or too many tokens, or the key frame is outside the clip.
        """
        if num_frames < 1:
            raise UserError("num_frames=0: the clip has no frames. Use a clip of 1 frame or more.")
        indices = self.indices(num_frames)
        if self.budget is not None and (tokens := self.num_tokens(len(indices))) > self.budget:
            raise UserError(
                f"tokeniser.budget={self.budget}: a clip of {num_frames} frames makes {tokens} tokens. "
                "Use a larger budget, or change the settings of the tokeniser."
            )
        wanted = self.key_frame if key_frame is None else key_frame
        if wanted == "first":
            return FramePlan(tuple(indices), 0)
        if wanted == "middle":
            return FramePlan(tuple(indices), len(indices) // 2)
        if isinstance(wanted, str):
            return FramePlan(tuple(indices), None)
        if not -num_frames <= wanted < num_frames:
            raise UserError(
                f"tokeniser.key_frame={wanted} is outside a clip of {num_frames} frames. "
                f"Use {-num_frames} to {num_frames - 1}."
            )
        key = wanted % num_frames
        nearest = min(range(len(indices)), key=lambda i: abs(indices[i] - key))
        indices[nearest] = key
        return FramePlan(tuple(indices), nearest)


@dataclass(frozen=True)
class KeyFramePlanner(StridePlanner):
    """The key frame alone; the stride only matters for key frames that are chosen by content."""

    frame_tokens: int = 0

    def max_frames(self, num_frames: int) -> int:
        return super().max_frames(num_frames) if self.key_frame in CONTENT_KEYS else 1

    def plan(self, num_frames: int, key_frame: int | None = None) -> FramePlan:
        plan = super().plan(num_frames, key_frame)
        return plan if plan.key is None else FramePlan((plan.indices[plan.key],), 0)


@dataclass(frozen=True)
class CodecMotionPlanner(StridePlanner):
    """Every stride-th frame with a grid of motion vectors; the first is the key frame."""

    vector_grid: int = 8

    def plan(self, num_frames: int, key_frame: int | None = None) -> FramePlan:
        return replace(super().plan(num_frames, key_frame), vector_grid=self.vector_grid)


@dataclass(frozen=True)
class PatchPlanner(StridePlanner):
    """Every stride-th frame, as `frame_patches` patches; a clip has `key_tokens` tokens, or as many as patches."""

    frame_patches: int = 16

    def num_tokens(self, num_planned: int) -> int:
        return min(self.key_tokens, self.frame_patches * num_planned)


@dataclass(frozen=True)
class CappedPlanner(StridePlanner):
    """Every stride-th frame; a clip has at most `most_tokens` tokens."""

    most_tokens: int = 20

    def num_tokens(self, num_planned: int) -> int:
        return min(self.most_tokens, super().num_tokens(num_planned))


@dataclass(frozen=True)
class SlowFastPlanner(StridePlanner):
    """Every stride-th frame with `frame_tokens`; `slow_frames` of them, evenly spaced, also have `key_tokens`.

    Without `repeat_slow` these have `key_tokens` only.
    """

    slow_frames: int = 1
    repeat_slow: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not is_integer(self.slow_frames) or self.slow_frames < 1:
            raise UserError(
                f"tokeniser.slow_frames={self.slow_frames}: it counts frames. Use a whole number, 1 or more."
            )

    def num_tokens(self, num_planned: int) -> int:
        slow = len(self.slow(num_planned))
        return self.key_tokens * slow + self.frame_tokens * (num_planned if self.repeat_slow else num_planned - slow)

    def slow(self, num_planned: int) -> tuple[int, ...]:
        """Positions of the slow frames among `num_planned` frames, ascending; all frames if there are fewer."""
        return evenly_spaced(min(self.slow_frames, num_planned), num_planned)


@dataclass(frozen=True)
class EvenPlanner:
    """`number` frames, evenly spaced from the first to the last of a clip; frames of a short clip are repeated."""

    number: int

    def plan(self, num_frames: int, key_frame: int | None = None) -> FramePlan:
        return FramePlan(evenly_spaced(self.number, num_frames), 0)


@dataclass(frozen=True)
class ChangePlanner(StridePlanner):
    """Every stride-th frame; of those after the first only one for each `change` grey levels of change is kept.

    The number of tokens of all planned frames is thus the largest number of tokens.
    """

    change: float = 1.0

    def plan(self, num_frames: int, key_frame: int | None = None) -> FramePlan:
        return replace(super().plan(num_frames, key_frame), change=self.change)


@dataclass(frozen=True)
class ElasticPlanner(StridePlanner):
    """The first frame with `key_tokens`, and up to `later` frames with a token each, evenly spaced.

    Smaller budgets use a subset of the frames of the largest budget. Training decodes the frames of the largest one and
    draws one of `train_tokens` for each batch.

    Args:
        later: number of later frames of the budget; a clip of few frames has fewer.
        most_later: number of later frames of the budget with the most.
        grid_size: largest side of the key frame's grid.
        train_tokens: budgets that training draws from.
    """

    later: int = 4
    most_later: int = 4
    grid_size: int = 4
    train_tokens: tuple[int, ...] = (20,)

    @classmethod
    def of(
        cls, tokens: int, *, grid_size: int, train_tokens: tuple[int, ...], budget: int | None = None
    ) -> "ElasticPlanner":
        """The planner of a budget of `tokens` tokens."""
        most_later = max(split_budget(one, grid_size)[1] for one in (tokens, *train_tokens))
        planner = cls(1, budget=budget, most_later=most_later, grid_size=grid_size, train_tokens=train_tokens)
        return planner._at(tokens)

    def _at(self, tokens: int) -> "ElasticPlanner":
        key_tokens, later = split_budget(tokens, self.grid_size)
        return replace(self, key_tokens=key_tokens, later=later)

    def max_frames(self, num_frames: int) -> int:
        return 1 + min(self.later, num_frames - 1)

    def indices(self, num_frames: int) -> list[int]:
        read = evenly_spaced(1 + min(self.most_later, num_frames - 1), num_frames)
        return [read[place] for place in self.kept(len(read))]

    def for_training(self) -> "ElasticPlanner":
        key_tokens = max(split_budget(one, self.grid_size)[0] for one in self.train_tokens)
        return replace(self, key_tokens=key_tokens, later=self.most_later, budget=None)

    def drawn(self, number: int) -> "ElasticPlanner":
        return replace(self, budget=None)._at(self.train_tokens[number % len(self.train_tokens)])

    def kept(self, num_read: int) -> tuple[int, ...]:
        return evenly_spaced(1 + min(self.later, num_read - 1), num_read)


def split_budget(tokens: int, grid_size: int) -> tuple[int, int]:
    """A budget as (S, M): S is the largest square up to `grid_size`^2 that leaves one motion token for four of S.

    Four for one is the paper's 16 + 4. A budget of 1 is one spatial token.
    """
    side = min(grid_size, max(1, math.isqrt(4 * tokens // 5)))
    return side**2, tokens - side**2


@dataclass(frozen=True)
class TargetPlan:
    """The frames that a decoder generates: `num_frames` square frames of `size` pixels, evenly spaced in a clip."""

    num_frames: int
    size: int

    def indices(self, clip_frames: int) -> tuple[int, ...]:
        """Clip-frame numbers, from the first to the last; frames of a short clip are repeated."""
        return evenly_spaced(self.num_frames, clip_frames)


def evenly_spaced(number: int, frames: int) -> tuple[int, ...]:
    """`number` of `frames` frame numbers, evenly spaced from the first to the last; a single one is the first."""
    if number == 1:
        return (0,)
    return tuple(round(i * (frames - 1) / (number - 1)) for i in range(number))
