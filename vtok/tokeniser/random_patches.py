"""Patches at random: the control of every tokeniser that selects."""

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from vtok.backbone import Backbone
from vtok.common.hashing import stable_hash
from vtok.common.setting_types import Count, Seed
from vtok.tokeniser.patches import Patches, PatchTokeniser
from vtok.tokeniser.planned_frames import PlannedFrames
from vtok.tokeniser.selection import keep_best


class RandomTokeniser(PatchTokeniser):
    """`num_tokens` patches of the sampled frames, drawn at random without replacement.

    Every clip has a draw of its own, by a hash of `seed` and of the clip's pixels: the same in every run, batch and
    epoch, on every device. An augmented clip has another draw than the original.

    Args:
        seed: another seed gives other draws.

    Raises:
        UserError: a stride below 1, or a grid larger than the feature map.
    """

    def __init__(
        self,
        backbone: Backbone,
        *,
        grid_size: Count | None = None,
        stride: Count = 6,
        num_tokens: Count = 20,
        seed: Seed = 0,
        token_dim: Count | None = None,
        budget: Count | None = None,
    ) -> None:
        super().__init__(
            backbone, grid_size=grid_size, stride=stride, num_tokens=num_tokens, token_dim=token_dim, budget=budget
        )
        self.seed = seed

    def assign(self, patches: Patches, planned: PlannedFrames) -> Tensor:
        sums = planned.levels.tolist()
        draws = []
        for clip, number in zip(sums, patches.counts, strict=True):
            generator = torch.Generator().manual_seed(stable_hash("patches", self.seed, *clip[:number]))
            draws.append(torch.rand(number * patches.features.shape[2], generator=generator))
        longest = patches.there.shape[1]
        scores = pad_sequence([*draws, torch.zeros(longest)], batch_first=True)[:-1]
        scores = scores.to(patches.mask.device, non_blocking=True)
        return keep_best(scores, patches.there, patches.wanted)
