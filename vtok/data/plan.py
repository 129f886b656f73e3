"""Plans: which frames of a clip a tokeniser reads, known before anything is decoded."""

from dataclasses import dataclass, replace
from typing import Literal

from vtok.common.errors import UserError


@dataclass(frozen=True)
class FramePlan:
    """The frames to decode.

    `indices` are clip-frame numbers in ascending order, `key` the key frame's position among them; `key` is None where
    the key frame is chosen later by the frames' content. `vector_grid` is the side of the grid of motion vectors of
    each frame (`vtok.data.video.motion_vectors`); None: no motion vectors.
    """

    indices: tuple[int, ...]
    key: int | None
    vector_grid: int | None = None


KeyFrame = Literal["first", "middle", "medoid", "sharpest"] | int
KEY_FRAMES = ("first", "middle", "medoid", "sharpest")
# Chosen from what the frames show.
CONTENT_KEYS = ("medoid", "sharpest")


def is_whole(value: object) -> bool:
    """Whether a value is an integer and not a bool."""
    return isinstance(value, int) and not isinstance(value, bool)


@dataclass(frozen=True)
class StridePlanner:
    """Every stride-th frame of a clip, one of them the key frame (VTok, section 3.2).

    A clip of T frames has K = ceil(T / stride) planned frames whatever the key frame: a key frame between two sampled
    frames replaces the nearest one, so that the number of tokens depends only on T and stride.

    A planner also knows the number of tokens, so that processes without a model can lay out text and tokens.

    Args:
        stride: clip frames between two planned frames, at least 1.
        key_frame: "first", "middle", "medoid" or "sharpest" (among the planned frames), or a clip-frame index; negative
            indices count from the end of the clip.
        key_tokens: number of tokens of the key frame.
        frame_tokens: number of tokens of every other planned frame.
        budget: a clip that makes more tokens is refused; None refuses none.
    """

    stride: int
    key_frame: KeyFrame = "first"
    key_tokens: int = 16
    frame_tokens: int = 1
    budget: int | None = None

    def __post_init__(self) -> None:
        if not is_whole(self.stride) or self.stride < 1:
            raise UserError(f"tokeniser.stride={self.stride}: it must be a whole number of clip frames, 1 or more.")
        if not is_whole(self.key_frame) and self.key_frame not in KEY_FRAMES:
            allowed = ", ".join(KEY_FRAMES)
            raise UserError(f"tokeniser.key_frame={self.key_frame}: it must be {allowed} or a frame index.")

    def max_frames(self, num_frames: int) -> int:
        """Number of planned frames K of a clip of `num_frames`."""
        return -(-num_frames // self.stride)

    def num_tokens(self, num_planned: int) -> int:
        """Number of tokens of `num_planned` planned frames."""
        return self.key_tokens + self.frame_tokens * (num_planned - 1)

    def plan(self, num_frames: int, key_frame: int | None = None) -> FramePlan:
        """The plan for a clip of `num_frames` frames; `key_frame` (a clip-frame index) overrides the configured one.

        Raises:
            UserError: the clip has no frame, or makes too many tokens, or the key frame lies outside of it.
        """
        if num_frames < 1:
            raise UserError("a clip needs at least one frame.")
        indices = list(range(0, num_frames, self.stride))
        if self.budget is not None and (tokens := self.num_tokens(len(indices))) > self.budget:
            raise UserError(
                f"tokeniser.budget={self.budget}: a clip of {num_frames} frames makes {tokens} tokens. "
                "Use a larger budget, or other settings of the tokeniser."
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
    """The key frame alone; the stride matters only for key frames that are chosen by content."""

    frame_tokens: int = 0

    def max_frames(self, num_frames: int) -> int:
        return super().max_frames(num_frames) if self.key_frame in CONTENT_KEYS else 1

    def plan(self, num_frames: int, key_frame: int | None = None) -> FramePlan:
        whole = super().plan(num_frames, key_frame)
        return whole if whole.key is None else FramePlan((whole.indices[whole.key],), 0)


@dataclass(frozen=True)
class CodecMotionPlanner(StridePlanner):
    """Every stride-th frame with a grid of motion vectors, the first one the key frame."""

    vector_grid: int = 8

    def plan(self, num_frames: int, key_frame: int | None = None) -> FramePlan:
        return replace(super().plan(num_frames, key_frame), vector_grid=self.vector_grid)


@dataclass(frozen=True)
class SlowFastPlanner(StridePlanner):
    """Every stride-th frame; `slow_frames` of them, evenly spread, have `key_tokens` beside `frame_tokens` of each."""

    slow_frames: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if not is_whole(self.slow_frames) or self.slow_frames < 1:
            raise UserError(f"tokeniser.slow_frames={self.slow_frames}: it must be a whole number, 1 or more.")

    def num_tokens(self, num_planned: int) -> int:
        return self.key_tokens * len(self.slow(num_planned)) + self.frame_tokens * num_planned

    def slow(self, num_planned: int) -> tuple[int, ...]:
        """The positions of the slow frames among `num_planned`, ascending; all frames if there are fewer."""
        return spread(min(self.slow_frames, num_planned), num_planned)


@dataclass(frozen=True)
class TargetPlan:
    """The frames that a decoder generates: `num_frames` square frames of `size` pixels, evenly spread over a clip."""

    num_frames: int
    size: int

    def indices(self, clip_frames: int) -> tuple[int, ...]:
        """Clip-frame numbers, including the first and the last; frames of a short clip are repeated."""
        return spread(self.num_frames, clip_frames)


def spread(number: int, frames: int) -> tuple[int, ...]:
    """`number` of `frames` frames, ascending and evenly spread from the first to the last; of one, the first."""
    if number == 1:
        return (0,)
    return tuple(round(i * (frames - 1) / (number - 1)) for i in range(number))
