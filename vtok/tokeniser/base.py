"""The contract of all tokenisers: planned frames in, video tokens out."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from vtok.backbone import Backbone
from vtok.common.errors import UserError
from vtok.data.plan import FramePlan, StridePlanner
from vtok.tokeniser.planned_frames import PlannedFrames

SPATIAL, MOTION = 0, 1
# Frames of a clip in a chunk, so that a long clip takes no more memory than two seconds at 8 frames a second.
FRAMES_AT_ONCE = 16
# Pixels in a chunk of all clips of a batch: 16 frames of CLIP-L, enough to keep a GPU busy.
PIXELS_AT_ONCE = 16 * 336**2


@dataclass(frozen=True)
class VideoTokens:
    """A batch of tokenised clips.

    Attributes:
        tokens: (B, L, d), the key frame's spatial tokens first, then the motion tokens in the order of time.
        kind: (L,), SPATIAL or MOTION.
        timestamps: (B, L), time in seconds of the frame that a token represents; the mean where it represents several.
        mask: (B, L), False at padding, which comes last. Where it is False the other values mean nothing.
        places: (B, L, 2), row and column of the token's centre in the frame, from 0 (top left) to 1; the mean where it
            represents several patches. NaN where it represents entire frames or the difference of two.
        weights: (B, L), how many places of the backbone's feature map it represents. A selected place is 1, a cell of a
            grid its share of the map, an entire frame the map.
        patches: (N, K, P, C), the features that a question is asked of, in N clips; None: no token depends on a
            question, or `Tokeniser.condition` has made those that do.
        clip_of_row: (B,), the clip in `patches` of each row; None without them.
    """

    tokens: Tensor
    kind: Tensor
    timestamps: Tensor
    mask: Tensor
    places: Tensor
    weights: Tensor
    patches: Tensor | None = None
    clip_of_row: Tensor | None = None

    def to(self, device: torch.device) -> "VideoTokens":
        return replace(self, **{name: one.to(device) for name, one in vars(self).items() if one is not None})

    def select(self, rows: Tensor) -> "VideoTokens":
        """The clips `rows`, repeats allowed: one clip's tokens for many texts."""
        return VideoTokens(
            self.tokens[rows],
            kind=self.kind,
            timestamps=self.timestamps[rows],
            mask=self.mask[rows],
            places=self.places[rows],
            weights=self.weights[rows],
            patches=self.patches,
            clip_of_row=None if self.clip_of_row is None else self.clip_of_row[rows],
        )

    def at(self, positions: Tensor) -> "VideoTokens":
        """The tokens of the first clip at `positions` (N, n) in the sequence: N clips of n tokens each, none padded.

        `kind` is that of the first row.

        Raises:
            ValueError: tokens that depend on a question, which `Tokeniser.condition` has not made.
        """
        if self.patches is not None and positions.shape[1]:
            raise ValueError("these tokens depend on a question, which comes before some of them are chosen.")
        return VideoTokens(
            tokens=self.tokens[0][positions],
            kind=self.kind[positions[0]],
            timestamps=self.timestamps[0][positions],
            mask=torch.ones_like(positions, dtype=torch.bool),
            places=self.places[0][positions],
            weights=self.weights[0][positions],
        )


class Tokeniser(nn.Module, ABC):
    """Turns clips into tokens of width `token_dim`.

    A subclass has a planner and two halves: `extract` (backbone and pooling) and `project` (projections). `extract`
    reads feature maps through `chunks`, `features` or `grids`, which take them from a feature cache if there is one.

    Args:
        backbone: frames to feature maps.
        planner: planner of the frames that are read.
        token_dim: width of the tokens; the backbone's feature_dim where None.
        budget: largest number of tokens of a clip (more are refused); None: any. Commands also take 3GFLOP or 40ms.

    Attributes:
        frame_kind: kind of the tokens of frames other than the key frame, SPATIAL or MOTION.
        first_key: whether the key frame is always the first, so that a call that asks for another one is refused.
        needs_files: whether it reads more than pixels from a file, so that generated videos cannot be tokenised.
        reads_question: whether tokens depend on the question, so that `condition` completes them, and a clip has other
            tokens for each question.
        budgeted: name of the setting that is adjusted to meet `budget`; None: the tokeniser takes no budget.
    """

    frame_kind = SPATIAL
    first_key: ClassVar[bool] = False
    needs_files: ClassVar[bool] = False
    reads_question: ClassVar[bool] = False
    budgeted: ClassVar[str | None] = None

    def __init__(self, backbone: Backbone, *, planner: StridePlanner, token_dim: int | None) -> None:
        super().__init__()
        self.backbone = backbone
        self.planner = planner
        self.token_dim = backbone.feature_dim if token_dim is None else token_dim

    @abstractmethod
    def extract(self, planned: PlannedFrames) -> dict[str, Tensor]:
        """Pooled features by name; with a key frame also `order`: the positions of the frames that they represent."""

    @abstractmethod
    def project(self, pooled: dict[str, Tensor], planned: PlannedFrames) -> VideoTokens:
        """The tokens, from what `extract` returned."""

    def condition(self, video: VideoTokens, queries: Tensor, there: Tensor) -> VideoTokens:
        """The tokens for the questions of their rows; unchanged if none depends on a question.

        Args:
            video: the tokens that `project` gave.
            queries: (B, n, C), as wide as the backbone's features, one for each word of a row's question.
            there: (B, n), False at padding and at words that are not the question's.
        """
        return video

    @property
    def device(self) -> torch.device:
        """The device of its tensors; that of the backbone's mean, as it need not have parameters."""
        return self.backbone.mean.device

    def kinds(self, num_planned: int) -> Tensor:
        """The kind (L,) of each token of a clip with `num_planned` planned frames."""
        all_tokens = self.planner.num_tokens(num_planned)
        spatial = min(self.planner.key_tokens, all_tokens)
        return torch.tensor([SPATIAL] * spatial + [self.frame_kind] * (all_tokens - spatial))

    def num_encoded(self, num_planned: int) -> int:
        """How many of a clip's planned frames go through the backbone."""
        return num_planned

    def plan(self, num_frames: int, key_frame: int | None = None) -> FramePlan:
        """The frames that are read of a clip of `num_frames`; no other frame is decoded or encoded.

        Raises:
            UserError: a key frame that the tokeniser or the clip does not have.
        """
        if self.first_key and key_frame not in (None, 0):
            raise UserError(
                f"key_frame={key_frame}: the key frame of {type(self).__name__} is the first. "
                "Use key_frame=0, the first frame, or None."
            )
        return self.planner.plan(num_frames, key_frame)

    def token_map(self, planned: PlannedFrames) -> Tensor | None:
        """The number (B, K, g, g) of the token that each patch of a frame is averaged into, 1 to L; 0: it is dropped.

        None: the tokens are not averages of patches.
        """
        return None

    def encode_planned(self, planned: PlannedFrames) -> VideoTokens:
        return self.project(self.extract(planned) if planned.pooled is None else planned.pooled, planned)

    def encode(
        self, video: Tensor, *, key_frame: int | Sequence[int] | None = None, timestamps: Tensor | None = None
    ) -> VideoTokens:
        """Tokenise clips, (B, T, 3, H, W) uint8 or float in [0, 1].

        Args:
            key_frame: clip-frame index instead of the configured key frame, or one for each clip.
            timestamps: (B, T) seconds; None: frame numbers.

        Raises:
            UserError: a key frame outside the clip.
            ValueError: not a batch of clips.
        """
        if video.dim() != 5 or video.shape[2] != 3:
            raise ValueError(f"video must have the shape (batch, frames, 3, height, width), not {tuple(video.shape)}.")
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
            lengths=(indices.shape[1],) * batch,
        )
        return self.encode_planned(planned.kept(plans[0].change))

    def forward(self, video: Tensor, key_frame: int | Sequence[int] | None = None) -> Tensor:
        """Only the tokens, (B, L, token_dim), of clips (B, T, 3, H, W)."""
        return self.encode(video, key_frame=key_frame).tokens

    def frames_at_once(self, frames: Tensor) -> int:
        """Frames of each clip (B, K, C, H, W) that go through the backbone at once: all if the backbone is trained."""
        if not self.backbone.frozen:
            return frames.shape[1]
        return min(FRAMES_AT_ONCE, max(1, PIXELS_AT_ONCE // (len(frames) * frames.shape[-2] * frames.shape[-1])))

    def chunks(self, planned: PlannedFrames, places: Tensor | None = None) -> Iterator[Tensor]:
        """The backbone's feature maps (B, k, C, h, w) of the planned frames, or of those at `places` (B, n), in chunks.

        Chunks keep the memory of a long clip as small as that of a short one.
        """
        if planned.maps is not None:
            for maps in self.split(planned.maps.maps, places):
                yield self._cached(maps)
            return
        for frames in self.split(planned.pixels, places):
            # A frozen backbone may have half precision; the trained layers after it do not.
            yield self.backbone(frames.flatten(0, 1)).float().unflatten(0, frames.shape[:2])

    def attended_chunks(self, planned: PlannedFrames) -> Iterator[tuple[Tensor, Tensor]]:
        """As `chunks`, with the attention (B, k, h, w) that each place receives.

        Raises:
            UserError: the feature cache holds no attention.
        """
        if planned.maps is None:
            for frames in self.split(planned.pixels):
                maps, attention = self.backbone.attend(frames.flatten(0, 1))
                yield maps.float().unflatten(0, frames.shape[:2]), attention.float().unflatten(0, frames.shape[:2])
            return
        if planned.maps.attention is None:
            raise UserError(
                "data.cache: the tokeniser reads the backbone's attention, which this cache does not hold. Set "
                "data.cache=null, or make a cache with vtok precompute attention=true."
            )
        for maps, attention in zip(
            self.split(planned.maps.maps), self.split(planned.maps.attention.unsqueeze(2)), strict=True
        ):
            yield self._cached(maps), self._cached(attention).squeeze(2)

    def split(self, frames: Tensor, places: Tensor | None = None) -> Iterator[Tensor]:
        """Frames or maps (B, K, C, H, W), or those at `places` (B, n), in chunks (B, k, C, H, W)."""
        number = self.frames_at_once(frames)
        if places is None:
            yield from frames.split(number, dim=1)
            return
        rows = torch.arange(len(frames), device=frames.device).unsqueeze(1)
        for part in places.split(number, dim=1):
            yield frames[rows, part]

    def _cached(self, maps: Tensor) -> Tensor:
        """Maps (B, k, C, h, w) of a cache as the backbone would give them."""
        return self.backbone.averaged(maps.flatten(0, 1).float()).unflatten(0, maps.shape[:2])

    def features(self, planned: PlannedFrames) -> Tensor:
        """The backbone's feature maps of all planned frames, (B, K, C, h, w)."""
        maps = list(self.chunks(planned))
        # The usual case, without a copy.
        return maps[0] if len(maps) == 1 else torch.cat(maps, dim=1)

    def grids(self, planned: PlannedFrames, grid_size: int) -> Tensor:
        """All planned frames pooled to a grid, (B, K, grid_size * grid_size, C)."""
        pooled = [
            pool_grid(maps.flatten(0, 1), grid_size).unflatten(0, maps.shape[:2]) for maps in self.chunks(planned)
        ]
        return torch.cat(pooled, dim=1)


def check_grid(grid_size: int, backbone: Backbone, *, key: str = "grid_size") -> int:
    """`grid_size`, checked against the backbone's feature map; `key` is its name in the configuration.

    Raises:
        UserError: the feature map is smaller.
    """
    if not 1 <= grid_size <= backbone.feature_size:
        raise UserError(
            f"tokeniser.{key}={grid_size}: the backbone's feature map has {backbone.feature_size} places a side. "
            f"Use 1 to {backbone.feature_size}."
        )
    return grid_size


def pool_grid(features: Tensor, grid_size: int) -> Tensor:
    """Average-pool maps (N, C, h, w) to a grid: (N, grid_size * grid_size, C), row by row from the top left."""
    # Where nothing is averaged, PyTorch takes longest on a CPU.
    if features.shape[-2:] != (grid_size, grid_size):
        features = nn.functional.adaptive_avg_pool2d(features, grid_size)
    return features.flatten(2).transpose(1, 2)


def cell_places(grid_size: int, *, like: Tensor) -> Tensor:
    """Centres (grid_size * grid_size, 2) of the cells of a grid as row and column in 0..1, on the device of `like`."""
    centres = (torch.arange(grid_size, device=like.device) + 0.5) / grid_size
    return torch.cartesian_prod(centres, centres).view(-1, 2)


def no_places(number: int, *, like: Tensor) -> Tensor:
    """Places (number, 2) of tokens that represent entire frames, on the device of `like`."""
    return torch.full((number, 2), torch.nan, device=like.device)


def match_width(features: int, tokens: int) -> nn.Module:
    """A projection if the widths differ, otherwise the identity."""
    return nn.Identity() if features == tokens else nn.Linear(features, tokens)
