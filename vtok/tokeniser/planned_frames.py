"""The input of tokenisers: planned frames of a batch of clips, or what has been computed of them."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from vtok.common.errors import UserError
from vtok.data.change import kept_places
from vtok.data.frame_maps import FrameMaps
from vtok.tokeniser.pixels import frame_levels, frame_sharpness


@dataclass(frozen=True)
class PlannedFrames:
    """The frames that a tokeniser's plan asked for.

    Attributes:
        frames: (B, K, 3, H, W), uint8 or float in [0, 1]; None if `maps` or `pooled` are given instead.
        key: (B,) position of the key frame among the K frames; -1 if the tokeniser chooses it.
        mask: (B, K), False where a shorter clip was padded.
        timestamps: (B, K) seconds.
        maps: the backbone's feature maps of the frames, from a cache; None if there is none.
        pooled: what `Tokeniser.extract` returned for the frames; None if it is still to be computed.
        vectors: (B, K, 3, g, g), the codec's motion since the planned frame before (`vtok.data.video.motion_vectors`);
            None if the plan asked for none.
        lengths: number of frames of each clip without padding, see `counts`; None: they are counted in `mask`.
        key_tokens: number of spatial tokens if training has drawn a budget for the batch; None: the tokeniser's own.
    """

    frames: Tensor | None
    key: Tensor
    mask: Tensor
    timestamps: Tensor
    maps: FrameMaps | None = None
    pooled: dict[str, Tensor] | None = None
    vectors: Tensor | None = None
    lengths: tuple[int, ...] | None = None
    key_tokens: int | None = None

    def to(self, device: torch.device) -> "PlannedFrames":
        return self.moved(partial(Tensor.to, device=device, non_blocking=True))

    def moved(self, move: Callable[[Tensor], Tensor]) -> "PlannedFrames":
        """The same frames with each tensor moved by a function, to another device or to pinned memory."""
        return PlannedFrames(
            frames=None if self.frames is None else move(self.frames),
            key=move(self.key),
            mask=move(self.mask),
            timestamps=move(self.timestamps),
            maps=None if self.maps is None else self.maps.moved(move),
            pooled=None if self.pooled is None else {name: move(tensor) for name, tensor in self.pooled.items()},
            vectors=None if self.vectors is None else move(self.vectors),
            lengths=self.counts,
            key_tokens=self.key_tokens,
        )

    def kept(self, change: float | None) -> "PlannedFrames":
        """Without the frames that a plan with this `change` drops (`vtok.data.change`); the first is the key frame."""
        if change is None:
            return self
        clips = [clip[there] for clip, there in zip(self.pixels, self.mask, strict=True)]
        places, mask = kept_places(clips, change)
        rows = torch.arange(len(places), device=places.device).unsqueeze(1)
        frames, timestamps = self.pixels[rows, places], self.timestamps.gather(1, places)
        return replace(self, frames=frames, mask=mask, timestamps=timestamps, lengths=None)

    @property
    def counts(self) -> tuple[int, ...]:
        """Number of frames of each clip without padding.

        A batch is made on the CPU, and `to` counts there, so that tokenisers do not wait for the device.
        """
        return tuple(self.mask.sum(1).tolist()) if self.lengths is None else self.lengths

    @property
    def pixels(self) -> Tensor:
        """The frames.

        Raises:
            UserError: there are only feature maps from a cache.
            ValueError: there is only what `extract` returned.
        """
        if self.maps is not None:
            raise UserError(
                "data.cache: the tokeniser reads the pixels of its frames, and a feature cache holds feature maps. "
                "Set data.cache=null, or use another tokeniser."
            )
        if self.frames is None:
            raise ValueError("these clips have extracted features and no frames.")
        return self.frames

    @property
    def sharpness(self) -> Tensor:
        """Variance of the Laplacian of each frame, (B, K)."""
        return frame_sharpness(self.pixels) if self.maps is None else self.maps.sharpness

    @property
    def levels(self) -> Tensor:
        """Sum of the pixels of each frame in 0..255, int64 (B, K): exact, so the same on every device."""
        return frame_levels(self.pixels) if self.maps is None else self.maps.levels
