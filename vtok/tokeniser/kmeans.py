"""Clusters of patches over places and times: the idea of VQToken (Zhang and Fu 2025, arXiv 2503.16980), untrained."""

import torch
from torch import Tensor

from vtok.backbone import Backbone
from vtok.common.setting_types import Count
from vtok.tokeniser.patches import Patches, PatchTokeniser
from vtok.tokeniser.planned_frames import PlannedFrames
from vtok.tokeniser.selection import ranks, totals


class KMeansTokeniser(PatchTokeniser):
    """The centroids of `num_tokens` clusters of the clip's patches, by k-means (Lloyd 1982).

    As in VQToken, clusters join patches of similar features wherever and whenever they are, so that an object that
    moves can be one token. VQToken then trains a codebook, and attention to a map of which patch is in which cluster;
    here tokens are the centroids alone, and `places` and `timestamps` say where they are.

    The first centroids are patches at equal steps through the clip; nothing is drawn at random. A cluster that becomes
    empty, for example because patches are the same, takes the patch that is furthest from its centroid, so that there
    are always `num_tokens`.

    Args:
        iterations: number of times that centroids are computed.

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
        iterations: Count = 10,
        token_dim: Count | None = None,
        budget: Count | None = None,
    ) -> None:
        super().__init__(
            backbone, grid_size=grid_size, stride=stride, num_tokens=num_tokens, token_dim=token_dim, budget=budget
        )
        self.iterations = iterations

    def assign(self, patches: Patches, planned: PlannedFrames) -> Tensor:
        features, there, wanted = patches.flat, patches.there, patches.wanted.unsqueeze(1)
        most = max(patches.wanted_counts)
        cluster = torch.arange(most, device=features.device)
        # The middles of equal steps; clusters that a clip does not have repeat its last patch and stay empty.
        seeds = ((2 * cluster + 1) * there.sum(1, keepdim=True) // (2 * wanted)).clamp(max=there.shape[1] - 1)
        centroids = features.gather(1, seeds.unsqueeze(2).expand(-1, -1, features.shape[2]))
        exists = cluster < wanted
        numbers = nearest(features, centroids, there, exists)
        for _ in range(self.iterations):
            count = totals(numbers, there.float(), most)
            centroids = totals(numbers, features, most) / count.clamp(min=1).unsqueeze(2)
            numbers = nearest(features, centroids, there, exists)
        return numbers


def nearest(features: Tensor, centroids: Tensor, there: Tensor, exists: Tensor) -> Tensor:
    """The number (B, P), from 1, of each patch's nearest centroid, 0 for padding; no cluster is empty.

    Args:
        features: (B, P, C).
        centroids: (B, k, C).
        there: (B, P), False for padding.
        exists: (B, k), False for clusters that a shorter clip does not have.
    """
    # Up to |f|^2, which all centroids share.
    distances = centroids.square().sum(2).unsqueeze(1) - 2 * features @ centroids.mT
    lowest = distances.masked_fill(~exists.unsqueeze(1), torch.inf).min(dim=2)
    numbers = torch.where(there, lowest.indices + 1, 0)
    distance = (lowest.values + features.square().sum(2)).masked_fill(~there, -torch.inf)
    return fill_empty(numbers, distance, exists)


def fill_empty(numbers: Tensor, distance: Tensor, exists: Tensor) -> Tensor:
    """Give each empty cluster one patch: those furthest from their centroids, but never a cluster's nearest patch.

    Args:
        numbers: (B, P), from 1; 0 for padding.
        distance: (B, P), distance of each patch to its centroid.
        exists: (B, k).
    """
    count = totals(numbers, (numbers > 0).long(), exists.shape[1])
    empty = exists & (count == 0)
    # Patches by their cluster, and within it by distance: the first of each cluster stays.
    order = distance.argsort(dim=1, stable=True)
    order = order.gather(1, numbers.gather(1, order).argsort(dim=1, stable=True))
    clusters = numbers.gather(1, order)
    first = torch.ones_like(clusters, dtype=torch.bool)
    first[:, 1:] = clusters[:, 1:] != clusters[:, :-1]
    stays = torch.zeros_like(first).scatter(1, order, first) | (numbers == 0)
    rank = ranks(distance.masked_fill(stays, -torch.inf))
    # The numbers of the empty clusters first.
    vacant = (~empty).long().argsort(dim=1, stable=True) + 1
    moved = rank < empty.sum(1, keepdim=True)
    return torch.where(moved, vacant.gather(1, rank.clamp(max=vacant.shape[1] - 1)), numbers)
