"""VisionZip (Yang et al. 2025, arXiv 2412.04467): patches that receive attention, and means of the rest."""

import torch
from torch import Tensor
from torch.nn import functional as F

from vtok.backbone import Backbone
from vtok.common.setting_types import Count, Fraction
from vtok.tokeniser.patches import Patches, PatchTokeniser
from vtok.tokeniser.planned_frames import PlannedFrames
from vtok.tokeniser.selection import keep_best


class VisionZipTokeniser(PatchTokeniser):
    """Dominant tokens: the patches with the most attention; contextual tokens: means of the others (VisionZip).

    dominant:    the patches that receive the most attention in the backbone's last layer, averaged over heads: that of
                 the class token, or of all patches where the network has no class token
    contextual:  of the other patches, in their order, every step-th is a target; each that is left joins the target of
                 the highest cosine similarity; a token is the mean of a target and of what has joined it

    The attention is that of the layer that gives the feature map (`Backbone.attend`, which says what it is for networks
    without attention). The paper compresses each frame; here all frames compete, because 46 tokens of 31 frames cannot
    be shared out evenly. The paper compares attention keys, here features are compared. The public code adds the target
    to the mean of what has joined it; here, as the paper says, all are averaged. The class token is not a token.

    Args:
        contextual_share: share of contextual tokens, rounded to a whole number of them; the paper has 10 of 64.

    Raises:
        UserError: a stride below 1, or a grid larger than the feature map.
    """

    reads_attention = True

    def __init__(
        self,
        backbone: Backbone,
        *,
        grid_size: Count | None = None,
        stride: Count = 6,
        num_tokens: Count = 20,
        contextual_share: Fraction = 0.15625,
        token_dim: Count | None = None,
        budget: Count | None = None,
    ) -> None:
        super().__init__(
            backbone, grid_size=grid_size, stride=stride, num_tokens=num_tokens, token_dim=token_dim, budget=budget
        )
        self.contextual_share = contextual_share

    def assign(self, patches: Patches, planned: PlannedFrames) -> Tensor:
        assert patches.attention is not None
        wanted = torch.tensor(patches.wanted_counts, device="cpu")
        contextual = (self.contextual_share * wanted).round().long()
        most = int(contextual.max())
        contextual = contextual.to(patches.wanted.device, non_blocking=True)
        dominant = patches.wanted - contextual
        numbers = keep_best(patches.attention.flatten(1), patches.there, dominant)
        rest = patches.there & (numbers == 0)
        joined = join_targets(patches.flat, rest, contextual, most=most)
        return torch.where(joined > 0, joined + dominant.unsqueeze(1), numbers)


def join_targets(features: Tensor, rest: Tensor, number: Tensor, *, most: int) -> Tensor:
    """The number (B, P), from 1, of the target that each patch of `rest` is or joins; 0 for other patches.

    Args:
        features: (B, P, C).
        rest: (B, P), the patches to merge.
        number: (B,), number of targets, at most the patches to merge.
        most: the largest of `number`.
    """
    if most == 0:
        return torch.zeros_like(rest, dtype=torch.long)
    step = (rest.sum(1) // number.clamp(min=1)).clamp(min=1)
    # The positions of the patches to merge, in their order, then all others.
    order = rest.long().argsort(dim=1, descending=True, stable=True)
    target = torch.arange(most, device=rest.device) * step.unsqueeze(1)
    exists = torch.arange(most, device=rest.device) < number.unsqueeze(1)
    places = order.gather(1, target.clamp(max=rest.shape[1] - 1))
    unit = F.normalize(features, dim=2)
    targets = unit.gather(1, places.unsqueeze(2).expand(-1, -1, unit.shape[2]))
    similarity = (unit @ targets.mT).masked_fill(~exists.unsqueeze(1), -torch.inf)
    # Every target is its own, also where two are the same.
    own = torch.arange(rest.shape[1], device=rest.device).view(1, -1, 1) == places.unsqueeze(1)
    joined = similarity.masked_fill(own & exists.unsqueeze(1), torch.inf).argmax(2) + 1
    return torch.where(rest & (number > 0).unsqueeze(1), joined, 0)
