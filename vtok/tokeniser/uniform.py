"""Average pooling over time and space, to any number of tokens."""

from functools import lru_cache

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from vtok.tokeniser.patches import Patches, PatchTokeniser
from vtok.tokeniser.planned_frames import PlannedFrames


class UniformTokeniser(PatchTokeniser):
    """The means of `num_tokens` boxes of about the same size that fill the clip's K x h x w patches.

    The boxes are found by halving: a box with k tokens is cut across its longest side (in patches; the frames are a
    side) into one with floor(k / 2) tokens and one with the rest, of proportional sizes. So every number of tokens is
    possible, primes too, where the cells of a regular grid must be a product: 46 would be 23 x 2 x 1. The boxes depend
    on the number of frames alone, not on what they show.

    Raises:
        UserError: a stride below 1, or a grid larger than the feature map.
    """

    def assign(self, patches: Patches, planned: PlannedFrames) -> Tensor:
        side, longest = self.grid_size, patches.there.shape[1]
        boxes = [
            boxes_of((count, side, side), tokens).flatten()
            for count, tokens in zip(patches.counts, patches.wanted_counts, strict=True)
        ]
        numbers = pad_sequence([*boxes, torch.zeros(longest, dtype=torch.long)], batch_first=True)[:-1]
        return numbers.to(patches.mask.device, non_blocking=True)


@lru_cache(maxsize=256)
def boxes_of(shape: tuple[int, int, int], tokens: int) -> Tensor:
    """The number, 1 to `tokens`, of the box that each patch of a volume (K, h, w) is in."""
    numbers = torch.empty(shape, dtype=torch.long)
    boxes = [(numbers, tokens)]
    done = 0
    while boxes:
        box, count = boxes.pop()
        if count == 1:
            done += 1
            box.fill_(done)
            continue
        side = max(range(3), key=lambda axis: box.shape[axis])
        length = box.shape[side]
        layer = box.numel() // length
        first = count // 2
        cut = min(max(1, round(length * first / count)), length - 1)
        # Neither part may have more tokens than patches.
        first = min(max(first, count - (length - cut) * layer), cut * layer)
        halves = box.tensor_split([cut], dim=side)
        boxes += [(halves[1], count - first), (halves[0], first)]
    return numbers
