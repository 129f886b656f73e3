"""Frames that a frozen backbone has encoded: what tokenisers read of them, without the pixels."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor
from torch.nn.utils.rnn import pad_sequence


@dataclass(frozen=True)
class FrameMaps:
    """Encoded frames; `...` is K frames of a clip, or B, K of a batch.

    Attributes:
        maps: (..., C, h, w), the backbone's feature maps.
        sharpness: (...), variance of each frame's Laplacian, by which the sharpest key frame is chosen.
        levels: int64 (...), sum of each frame's pixels in 0..255, by which random tokenisers draw.
        attention: (..., h, w), the attention that each place receives (`Backbone.attend`); None: not stored.
    """

    maps: Tensor
    sharpness: Tensor
    levels: Tensor
    attention: Tensor | None = None

    def moved(self, move: Callable[[Tensor], Tensor]) -> "FrameMaps":
        """The same frames with each tensor moved by a function."""
        return FrameMaps(
            maps=move(self.maps),
            sharpness=move(self.sharpness),
            levels=move(self.levels),
            attention=None if self.attention is None else move(self.attention),
        )

    def at(self, frames: Tensor) -> "FrameMaps":
        """The frames of a clip at positions (n,)."""
        return self.moved(lambda tensor: tensor[frames])


def stack_maps(clips: Sequence[FrameMaps]) -> FrameMaps:
    """Clips as a batch; those with fewer frames are padded at the end with zeros."""
    attention = [clip.attention for clip in clips if clip.attention is not None]
    return FrameMaps(
        maps=pad_sequence([clip.maps for clip in clips], batch_first=True),
        sharpness=pad_sequence([clip.sharpness for clip in clips], batch_first=True),
        levels=pad_sequence([clip.levels for clip in clips], batch_first=True),
        attention=pad_sequence(attention, batch_first=True) if attention else None,
    )
