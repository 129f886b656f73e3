"""The contract of all tokenisers: planned frames in, video tokens out."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn

from vtok.backbone import Backbone
from vtok.common.errors import UserError
from vtok.data.plan import FramePlan, StridePlanner

SPATIAL, MOTION = 0, 1
# Of a clip through a frozen backbone, so that a long clip takes no more memory than one of two seconds at 8 a second.
FRAMES_AT_ONCE = 16
# Of all clips of a batch: 16 of CLIP-L's frames, enough to keep a GPU busy.
PIXELS_AT_ONCE = 16 * 336**2


@dataclass(frozen=True)
class PlannedFrames:
    """The frames that a tokeniser's plan asked for.

    Attributes:
        frames: (B, K, 3, H, W), uint8 or float in [0, 1]; None where `pooled` stands in their place.
        key: (B,) position of the key frame among the K; -1 where the tokeniser is to choose it.
        mask: (B, K), False where a shorter clip was padded.
        timestamps: (B, K) seconds.
        pooled: what `Tokeniser.extract` made of the frames once, by name; None where it is still to be made.
        vectors: (B, K, 3, g, g), the codec's motion since the planned frame before (`vtok.data.video.motion_vectors`);
            None where the plan asked for none.
    """

    frames: Tensor | None
    key: Tensor
    mask: Tensor
    timestamps: Tensor
    pooled: dict[str, Tensor] | None = None
    vectors: Tensor | None = None

    def to(self, device: torch.device) -> "PlannedFrames":
        move = partial(Tensor.to, device=device, non_blocking=True)
        return PlannedFrames(
            frames=None if self.frames is None else move(self.frames),
            key=move(self.key),
            mask=move(self.mask),
            timestamps=move(self.timestamps),
            pooled=None if self.pooled is None else {name: move(tensor) for name, tensor in self.pooled.items()},
            vectors=None if self.vectors is None else move(self.vectors),
        )

    @property
    def pixels(self) -> Tensor:
        """The frames.

        Raises:
            ValueError: there are features alone.
        """
        if self.frames is None:
            raise ValueError("these clips came out of a feature cache, without their frames.")
        return self.frames


@dataclass(frozen=True)
class VideoTokens:
    """A batch of tokenised clips.

    Attributes:
        tokens: (B, L, d), the key frame's spatial tokens first, then the motion tokens in the order of time.
        kind: (L,), SPATIAL or MOTION.
        timestamps: (B, L), the seconds of the frame that a token stands for.
        mask: (B, L), False at padding. True tokens come first.
    """

    tokens: Tensor
    kind: Tensor
    timestamps: Tensor
    mask: Tensor


class Tokeniser(nn.Module, ABC):
    """Turns clips into tokens of width `token_dim`.

    A subclass gives a planner and two halves: `extract` (backbone and pooling) and `project` (projections). With a
    frozen backbone and a pooling that is not trained, what `extract` returns can be computed once and kept.

    Attributes:
        frame_kind: of the tokens of the frames beside the key frame, SPATIAL or MOTION.
        needs_files: whether it reads what a file holds beside its pixels, so that a generated video has no tokens.
        budgeted: the setting that is found where `budget` is given; None of a tokeniser that takes no budget.
        project_settings: names of settings that `project` alone depends on, so that features that are kept fit any.
    """

    frame_kind = SPATIAL
    needs_files: ClassVar[bool] = False
    budgeted: ClassVar[str | None] = None
    project_settings: tuple[str, ...] = ("token_dim",)

    def __init__(self, backbone: Backbone, *, planner: StridePlanner, token_dim: int | None) -> None:
        super().__init__()
        self.backbone = backbone
        self.planner = planner
        self.token_dim = backbone.feature_dim if token_dim is None else token_dim

    @abstractmethod
    def extract(self, planned: PlannedFrames) -> dict[str, Tensor]:
        """Pooled features by name; with a key frame also `order`: the positions of the frames that they stand for."""

    @abstractmethod
    def project(self, pooled: dict[str, Tensor], planned: PlannedFrames) -> VideoTokens:
        """Tokens of what `extract` returned."""

    @property
    def is_cacheable(self) -> bool:
        """Whether nothing in `extract` is trained, so that what it returns of a clip stays the same."""
        return self.backbone.frozen

    def kinds(self, num_planned: int) -> Tensor:
        """The kind of each token of a clip of `num_planned` planned frames, (L,), before there is any clip."""
        spatial, all_tokens = self.planner.key_tokens, self.planner.num_tokens(num_planned)
        return torch.tensor([SPATIAL] * spatial + [self.frame_kind] * (all_tokens - spatial))

    def plan(self, num_frames: int, key_frame: int | None = None) -> FramePlan:
        """The frames needed of a clip of `num_frames`; only these are to be decoded and encoded."""
        return self.planner.plan(num_frames, key_frame)

    def encode_planned(self, planned: PlannedFrames) -> VideoTokens:
        return self.project(self.extract(planned) if planned.pooled is None else planned.pooled, planned)

    def encode(
        self, video: Tensor, *, key_frame: int | Sequence[int] | None = None, timestamps: Tensor | None = None
    ) -> VideoTokens:
        """Tokenise whole clips, (B, T, 3, H, W) uint8 or float in [0, 1].

        Args:
            key_frame: overrides the configured key frame: a clip-frame index, or one for each clip.
            timestamps: (B, T) seconds; frame numbers where not given.

        Raises:
            UserError: a key frame outside the clip.
            ValueError: not a batch of clips.
        """
        if video.dim() != 5 or video.shape[2] != 3:
            raise ValueError(f"video has the shape {tuple(video.shape)}, not (batch, frames, 3, height, width).")
        batch, num_frames = video.shape[:2]
        keys = list(key_frame) if isinstance(key_frame, Sequence) else [key_frame] * batch
        if len(keys) != batch:
            raise ValueError(f"{len(keys)} key frames for {batch} clips.")
        plans = [self.plan(num_frames, key) for key in keys]
        indices = torch.tensor([plan.indices for plan in plans], device=video.device)
        if timestamps is None:
            timestamps = torch.arange(num_frames, device=video.device, dtype=torch.float32).expand(batch, -1)
        planned = PlannedFrames(
            frames=torch.stack([clip[index] for clip, index in zip(video, indices, strict=True)]),
            key=torch.tensor([-1 if plan.key is None else plan.key for plan in plans], device=video.device),
            mask=torch.ones_like(indices, dtype=torch.bool),
            timestamps=timestamps.gather(1, indices),
        )
        return self.encode_planned(planned)

    def forward(self, video: Tensor, key_frame: int | Sequence[int] | None = None) -> Tensor:
        """The tokens alone, (B, L, token_dim), of whole clips (B, T, 3, H, W)."""
        return self.encode(video, key_frame=key_frame).tokens

    def frames_at_once(self, pixels: Tensor) -> int:
        """How many frames of each clip of (B, K, 3, H, W) go through the backbone at once: all where it is trained."""
        if not self.backbone.frozen:
            return pixels.shape[1]
        return min(FRAMES_AT_ONCE, max(1, PIXELS_AT_ONCE // (len(pixels) * pixels.shape[-2] * pixels.shape[-1])))

    def chunks(self, planned: PlannedFrames, places: Tensor | None = None) -> Iterator[Tensor]:
        """The backbone's feature maps (B, k, C, h, w) of the planned frames, or of those at `places` (B, n), in turn.

        They come so few at a time that a long clip takes no more memory than a short one.
        """
        pixels = planned.pixels
        number = self.frames_at_once(pixels)
        rows = torch.arange(len(pixels), device=pixels.device).unsqueeze(1)
        parts = pixels.split(number, dim=1) if places is None else places.split(number, dim=1)
        for part in parts:
            frames = part if places is None else pixels[rows, part]
            # A frozen backbone may be of half precision; what is trained behind it is not.
            yield self.backbone(frames.flatten(0, 1)).float().unflatten(0, frames.shape[:2])

    def features(self, planned: PlannedFrames) -> Tensor:
        """The backbone's feature maps of all planned frames, (B, K, C, h, w)."""
        maps = list(self.chunks(planned))
        # The usual case, in which nothing is to be copied.
        return maps[0] if len(maps) == 1 else torch.cat(maps, dim=1)

    def grids(self, planned: PlannedFrames, grid_size: int) -> Tensor:
        """All planned frames pooled to a grid, (B, K, grid_size * grid_size, C)."""
        pooled = [
            pool_grid(maps.flatten(0, 1), grid_size).unflatten(0, maps.shape[:2]) for maps in self.chunks(planned)
        ]
        return torch.cat(pooled, dim=1)


def check_grid(grid_size: int, backbone: Backbone, *, key: str = "grid_size") -> int:
    """`grid_size`, where the backbone's feature map can be pooled to it; `key` is its name in the configuration.

    Raises:
        UserError: it cannot.
    """
    if not 1 <= grid_size <= backbone.feature_size:
        raise UserError(
            f"tokeniser.{key}={grid_size}: this backbone's feature map allows 1 to {backbone.feature_size}."
        )
    return grid_size


def pool_grid(features: Tensor, grid_size: int) -> Tensor:
    """Average-pool maps (N, C, h, w) to a grid: (N, grid_size * grid_size, C), row by row from the top left."""
    return nn.functional.adaptive_avg_pool2d(features, grid_size).flatten(2).transpose(1, 2)


def match_width(features: int, tokens: int) -> nn.Module:
    """A projection where the widths differ, nothing where they do not."""
    return nn.Identity() if features == tokens else nn.Linear(features, tokens)
