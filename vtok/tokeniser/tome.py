"""Token Merging (ToMe, Bolya et al. 2023, arXiv 2210.09461): the most similar patches become one token."""

import torch
from torch import Tensor
from torch.nn import functional as F

from vtok.tokeniser.patches import Patches, PatchTokeniser
from vtok.tokeniser.planned_frames import PlannedFrames
from vtok.tokeniser.selection import ranks, renumber, totals

# Similarities in memory at once: 256 MB.
SIMILARITIES_AT_ONCE = 2**26


class ToMeTokeniser(PatchTokeniser):
    """Bipartite soft matching, repeated over all patches of a clip until `num_tokens` tokens are left (ToMe).

    In each round the tokens of a clip go alternately to sets A and B. Each token of A finds the token of B with the
    highest cosine similarity; the r most similar pairs are merged into their mean, weighted by the number of patches
    that each token stands for. r is half of the tokens, fewer in the last round.

    Rounds over the clip instead of between layers of the backbone, and their schedule, are those of VideoChat-Flash (Li
    et al. 2025, arXiv 2501.00574), whose clips are a few frames. ToMe compares attention keys averaged over heads; here
    features are compared, as a backbone need not have keys. In ToMe's public code a round lists what A keeps before B;
    here tokens stay in order, a merged one where its token of B was, so that A and B remain neighbours.

    Similarities take time quadratic in the number of patches: a `grid_size` keeps it small for large feature maps.

    Raises:
        UserError: a stride below 1, or a grid larger than the feature map.
    """

    def assign(self, patches: Patches, planned: PlannedFrames) -> Tensor:
        there, count = patches.there, patches.there.sum(1)
        # The same numbers on the CPU: the host decides how many rounds there are.
        counts = [patches.features.shape[2] * number for number in patches.counts]
        # At first each patch is a token. Padding, which comes last, is token 0: none.
        numbers = torch.where(there, there.cumsum(1), 0)
        # Cosine similarity is the same for sums as for means, weighted by the number of patches of each token.
        sums = patches.flat
        while any(number > wanted for number, wanted in zip(counts, patches.wanted_counts, strict=True)):
            merges = torch.minimum(count - patches.wanted, count // 2)
            target = match(sums, count, merges)
            position = torch.arange(target.shape[1], device=target.device)
            # A token that stays is counted; one that is merged has the number of the token that it goes to.
            new = (target == position).cumsum(1).gather(1, target)
            new = new.masked_fill(position >= count.unsqueeze(1), 0)
            count = count - merges
            counts = [max(wanted, -(-n // 2)) for n, wanted in zip(counts, patches.wanted_counts, strict=True)]
            numbers = renumber(numbers, new)
            sums = totals(new, sums, max(counts))
        return numbers


def match(tokens: Tensor, count: Tensor, merges: Tensor) -> Tensor:
    """The position (B, N) of the token that each token goes to: its own, or that of the token it is merged into.

    Args:
        tokens: (B, N, C).
        count: (B,), tokens of each clip; those after them are padding.
        merges: (B,), number of merges of each clip.
    """
    batch, number, _ = tokens.shape
    tokens = F.normalize(tokens, dim=2)
    a, b = tokens[:, ::2], tokens[:, 1::2]
    position = torch.arange(number, device=tokens.device).expand(batch, -1)
    padding = position >= count.unsqueeze(1)
    best, partner = [], []
    for part in a.split(max(1, SIMILARITIES_AT_ONCE // (batch * b.shape[1])), dim=1):
        similarity = (part @ b.mT).masked_fill(padding[:, None, 1::2], -torch.inf)
        highest = similarity.max(dim=2)
        best.append(highest.values)
        partner.append(highest.indices)
    scores = torch.cat(best, dim=1).masked_fill(padding[:, ::2], -torch.inf)
    merged = ranks(scores) < merges.unsqueeze(1)
    target = position.clone()
    target[:, ::2] = torch.where(merged, 2 * torch.cat(partner, dim=1) + 1, position[:, ::2])
    return target
