"""A tokeniser under examination, and clips of noise for it."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from vtok.common.errors import UserError
from vtok.data.plan import FramePlan
from vtok.tokeniser import PlannedFrames, Tokeniser, VideoTokens

# Planned frames of a clip, where the plan allows it: a first, a last, and some between them.
FRAMES = 5
# A change of a pixel that changes no choice of patches, neither by features nor by levels of 8 bits.
SMALL = 0.02 / 255
# Of the root mean square of the tokens. Rounding errors are a hundredth of it.
TOLERANCE = 1e-4
SECONDS_A_FRAME = 1 / 24
# Words of the question that tokenisers which read one are asked.
WORDS = 3
FIELDS = ("tokens", "timestamps", "places", "weights")


class Case:
    """A tokeniser in evaluation mode, and clips of noise with a variable frame rate.

    Args:
        make: builds the tokeniser, with the same weights in every call.
        num_frames: length of the usual clips; a shorter one that has enough planned frames is used instead.
    """

    def __init__(self, make: Callable[[], Tokeniser], num_frames: int) -> None:
        self.make = make
        self.tokeniser = make().eval()
        self.device = next((one.device for one in self.tokeniser.parameters()), torch.device("cpu"))
        enough = (length for length in range(1, num_frames) if self.planned_frames(length) == FRAMES)
        self.num_frames = next(enough, num_frames)

    def planned_frames(self, length: int) -> int:
        """The number K of planned frames of a clip; 0 if the tokeniser refuses the clip."""
        try:
            return len(self.tokeniser.plan(length).indices)
        except UserError:
            return 0

    def generator(self, seed: int) -> torch.Generator:
        return torch.Generator().manual_seed(seed)

    def video(self, length: int, seed: int = 0) -> tuple[Tensor, Tensor]:
        """A clip of noise (1, T, 3, H, W) in 0..1, whole levels of 8 bits, and its irregular timestamps (1, T)."""
        side, generator = self.tokeniser.backbone.image_size, self.generator(seed)
        frames = torch.randint(255, (1, length, 3, side, side), generator=generator) / 255
        steps = SECONDS_A_FRAME * (0.5 + torch.rand(1, length, generator=generator))
        return frames.to(self.device), (steps.cumsum(1) - steps[:, :1]).to(self.device)

    def clip(
        self, length: int | None = None, *, seed: int = 0, plan: FramePlan | None = None, still: bool = False
    ) -> PlannedFrames:
        """The planned frames of one clip of noise; None: of the usual length, and the tokeniser's own plan.

        `still`: all frames are the same.
        """
        length = self.num_frames if length is None else length
        plan = self.tokeniser.plan(length) if plan is None else plan
        frames, timestamps = self.video(length, seed)
        if still:
            frames = frames[:, :1].expand_as(frames)
        indices, grid = list(plan.indices), plan.vector_grid
        vectors = None
        if grid is not None:
            shape = (1, len(indices), 3, grid, grid)
            vectors = torch.randn(shape, generator=self.generator(seed + 1)).to(self.device)
        planned = PlannedFrames(
            frames=frames[:, indices],
            key=torch.tensor([-1 if plan.key is None else plan.key], device=self.device),
            mask=torch.ones(1, len(indices), dtype=torch.bool, device=self.device),
            timestamps=timestamps[:, indices],
            vectors=vectors,
        )
        return planned.kept(plan.change)

    @torch.no_grad()
    def encode(self, planned: PlannedFrames, tokeniser: Tokeniser | None = None) -> VideoTokens:
        """The tokens of a copy of the frames, which the tokeniser may change."""
        chosen = self.tokeniser if tokeniser is None else tokeniser
        return self.asked(chosen.encode_planned(copy_of(planned)), chosen)

    def asked(self, video: VideoTokens, tokeniser: Tokeniser | None = None) -> VideoTokens:
        """The tokens for one and the same question of noise, if they depend on a question."""
        chosen = self.tokeniser if tokeniser is None else tokeniser
        shape = (1, WORDS, chosen.backbone.feature_dim)
        queries = torch.randn(shape, generator=self.generator(0)).to(self.device)
        words = torch.ones(1, WORDS, dtype=torch.bool, device=self.device)
        rows = len(video.mask)
        return chosen.condition(video, queries.expand(rows, -1, -1), words.expand(rows, -1))


def copy_of(planned: PlannedFrames) -> PlannedFrames:
    return replace(
        planned,
        frames=planned.pixels.clone(),
        key=planned.key.clone(),
        mask=planned.mask.clone(),
        timestamps=planned.timestamps.clone(),
        vectors=None if planned.vectors is None else planned.vectors.clone(),
    )


def padded(planned: PlannedFrames, frames: int, seed: int = 7) -> PlannedFrames:
    """A clip followed by padding, which is noise, up to a number of planned frames."""
    missing = frames - planned.mask.shape[1]
    generator = torch.Generator().manual_seed(seed)

    def extended(values: Tensor, *, noise: bool) -> Tensor:
        shape = (1, missing, *values.shape[2:])
        more = torch.rand(shape, generator=generator) if noise else torch.zeros(shape)
        return torch.cat([values, more.to(values)], dim=1)

    return replace(
        planned,
        frames=extended(planned.pixels, noise=True),
        mask=extended(planned.mask, noise=False),
        timestamps=extended(planned.timestamps, noise=False),
        vectors=None if planned.vectors is None else extended(planned.vectors, noise=True),
    )


def batch_of(clips: Sequence[PlannedFrames]) -> PlannedFrames:
    """Clips as a batch; shorter ones are padded with noise."""
    most = max(clip.mask.shape[1] for clip in clips)
    rows = [padded(clip, most, seed=row) for row, clip in enumerate(clips)]
    vectors = [row.vectors for row in rows if row.vectors is not None]
    return PlannedFrames(
        frames=torch.cat([row.pixels for row in rows]),
        key=torch.cat([row.key for row in rows]),
        mask=torch.cat([row.mask for row in rows]),
        timestamps=torch.cat([row.timestamps for row in rows]),
        vectors=torch.cat(vectors) if vectors else None,
    )


def with_frame(planned: PlannedFrames, position: int, frame: Tensor, vectors: Tensor | None = None) -> PlannedFrames:
    """A clip with another frame (3, H, W), and other motion vectors (3, g, g) of it, at one position."""
    changed = copy_of(planned)
    changed.pixels[0, position] = frame
    if changed.vectors is not None and vectors is not None:
        changed.vectors[0, position] = vectors
    return changed


def difference(found: VideoTokens, expected: VideoTokens, row: int = 0) -> str | None:
    """How the tokens of clip `row` differ from those of the first clip of `expected`; None if they do not."""
    count = int(expected.mask[0].sum())
    number = int(found.mask[row].sum())
    if number != count or not found.mask[row, :count].all():
        return f"{number} tokens instead of {count}"
    scale = expected.tokens[0, :count].float().square().mean().sqrt().clamp(min=1e-12)
    for name in FIELDS:
        one, other = getattr(found, name)[row, :count].float(), getattr(expected, name)[0, :count].float()
        unit = scale if name == "tokens" else 1
        far = ~torch.isclose(one / unit, other / unit, rtol=0, atol=TOLERANCE, equal_nan=True).reshape(count, -1).all(1)
        if far.any():
            token = int(far.nonzero()[0])
            size = float(((one - other)[token] / unit).abs().nan_to_num(torch.inf).max())
            return f"{name} of token {token} and {int(far.sum()) - 1} others differ by {size:.2g}"
    return None


def changed_tokens(found: VideoTokens, base: VideoTokens) -> Tensor:
    """Which tokens (L,) of one clip differ from those of `base` by more than rounding errors."""
    scale = base.tokens[0].float().square().mean().sqrt()
    return ((found.tokens - base.tokens)[0].abs() > TOLERANCE * scale).any(1)


def movements(found: VideoTokens, base: VideoTokens) -> Tensor:
    """How far each token (L,) of one clip has moved from where it was in `base`; infinite if it is made otherwise."""
    moved = (found.tokens - base.tokens)[0].float().norm(dim=1)
    return moved.masked_fill(~same_sources(found, base), torch.inf)


def same_sources(found: VideoTokens, base: VideoTokens) -> Tensor:
    """Which tokens (L,) of one clip have the time, place and weight that they have in `base`."""
    same = torch.isclose(found.timestamps[0], base.timestamps[0]) & torch.isclose(found.weights[0], base.weights[0])
    return same & torch.isclose(found.places[0], base.places[0], equal_nan=True).all(1)
