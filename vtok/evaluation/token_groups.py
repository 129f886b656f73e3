"""Which frames a clip's tokens are made from, and which tokens belong together in a picture.

Tokens that are patches or means of them have a map of their patches. The frames that any other token is made from are
those whose noise changes it.
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import groupby
from math import isqrt
from typing import NamedTuple

import torch
from torch import Tensor

from vtok.tokeniser import SPATIAL, PlannedFrames, Tokeniser


class TokenGroup(NamedTuple):
    """Tokens that follow each other in the sequence and are of one time and one kind.

    Attributes:
        seconds: time of the tokens.
        kind: SPATIAL or MOTION.
        number: number of tokens.
        sources: the frames that they are made from, as positions among the K frames that are read.
        of_patches: whether they are patches or means of them, which may be anywhere.
    """

    seconds: float
    kind: int
    number: int
    sources: tuple[int, ...]
    of_patches: bool = False

    @property
    def rows(self) -> int:
        """Rows of the block that the tokens are drawn as: a square where they are a grid, about one for patches."""
        side = isqrt(self.number)
        if side**2 == self.number:
            return side
        return -(-self.number // (side + 1)) if self.of_patches else 1

    @property
    def is_grid(self) -> bool:
        """Whether the tokens are the cells of one frame."""
        return self.kind == SPATIAL and len(self.sources) == 1 and self.rows > 1 and not self.of_patches

    @property
    def columns(self) -> int:
        """Columns of the block."""
        return -(-self.number // self.rows)


def token_groups(tokeniser: Tokeniser, planned: PlannedFrames) -> list[TokenGroup]:
    """The tokens of a clip in their order, with the frames that they are made from.

    Args:
        tokeniser: a tokeniser in evaluation mode.
        planned: the planned frames of one clip; every frame is encoded K + 1 times.
    """
    true = tokeniser.encode_planned(planned)
    times = planned.timestamps[0]
    numbers = tokeniser.token_map(planned)
    if numbers is not None:
        return list(_patch_groups(true.timestamps[0], times, numbers[0]))
    if int(planned.key) < 0:
        # Chosen from the content, the key frame would depend on every frame.
        planned = replace(planned, key=(times - true.timestamps[0, 0]).abs().argmin().unsqueeze(0))
    changed = [tokeniser.encode_planned(_with_noise(planned, frame)).tokens[0] for frame in range(len(times))]
    depends = torch.stack([(tokens != true.tokens[0]).any(dim=-1) for tokens in changed])
    groups: list[TokenGroup] = []
    start = 0
    for (seconds, kind), same in groupby(zip(true.timestamps[0].tolist(), true.kind.tolist(), strict=True)):
        number = len(list(same))
        sources = depends[:, start : start + number].any(dim=1).nonzero().flatten()
        groups.append(TokenGroup(seconds, kind, number, tuple(sources.tolist())))
        start += number
    return groups


def _patch_groups(seconds: Tensor, times: Tensor, numbers: Tensor) -> Iterator[TokenGroup]:
    """Tokens that are means of patches: those nearest in time to the same frame.

    Args:
        seconds: (L,), times of the tokens, ascending.
        times: (K,), times of the frames.
        numbers: (K, g, g), the number of each patch's token.
    """
    nearest = (seconds.unsqueeze(1) - times).abs().argmin(1)
    start = 0
    for frame, same in groupby(nearest.tolist()):
        number = len(list(same))
        inside = (numbers > start) & (numbers <= start + number)
        sources = inside.flatten(1).any(1).nonzero().flatten()
        yield TokenGroup(float(times[frame]), SPATIAL, number, tuple(sources.tolist()), of_patches=True)
        start += number


def _with_noise(planned: PlannedFrames, frame: int) -> PlannedFrames:
    """The clip with noise in place of one frame and of its motion vectors."""
    generator = torch.Generator().manual_seed(frame)
    frames = planned.pixels.clone()
    frames[:, frame] = torch.randint(256, frames[:, frame].shape, generator=generator, dtype=torch.uint8)
    vectors = planned.vectors
    if vectors is not None:
        vectors = vectors.clone()
        vectors[:, frame] = torch.randn(vectors[:, frame].shape, generator=generator)
    return replace(planned, frames=frames, vectors=vectors)
