"""The contract of tokenisers without training: patches in, exactly k of them, or means of them, out."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from vtok.backbone import Backbone
from vtok.common.setting_types import Count
from vtok.data.plan import PatchPlanner
from vtok.tokeniser.base import SPATIAL, Tokeniser, VideoTokens, check_grid, match_width, pool_grid
from vtok.tokeniser.planned_frames import PlannedFrames
from vtok.tokeniser.selection import in_order, totals


@dataclass(frozen=True)
class Patches:
    """The patches of a batch of clips, without gradients.

    Attributes:
        features: (B, K, S, C), float32; S patches a frame, row by row.
        mask: (B, K), False where a shorter clip was padded.
        wanted: (B,), number of tokens of each clip, at most its patches.
        counts: number of frames of each clip without padding, on the CPU.
        most: largest number of tokens of a clip of any length.
        attention: (B, K, S), attention that each patch receives; None if the tokeniser does not read it.
    """

    features: Tensor
    mask: Tensor
    wanted: Tensor
    counts: tuple[int, ...]
    most: int
    attention: Tensor | None = None

    @property
    def flat(self) -> Tensor:
        """The features as (B, P, C), P = K * S: frame by frame."""
        return self.features.flatten(1, 2)

    @property
    def there(self) -> Tensor:
        """(B, P), False where a shorter clip was padded."""
        return self.mask.repeat_interleave(self.features.shape[2], dim=1)

    @property
    def wanted_counts(self) -> list[int]:
        """`wanted` on the CPU, where reading it does not wait for the device."""
        return [min(self.most, count * self.features.shape[2]) for count in self.counts]


class PatchTokeniser(Tokeniser):
    """Chooses or merges the patches of the sampled frames into `num_tokens` tokens; nothing is trained.

    A subclass implements `assign`: which token each patch belongs to. A token is the mean of its patches: one patch if
    the subclass selects, many if it merges. Tokens are SPATIAL, as they show what is there; they stand in the order of
    time, then row, then column of their centres. A clip with fewer patches than `num_tokens` keeps all of them.

    A projection is trained if the widths differ.

    Args:
        grid_size: every sampled frame is pooled to grid_size x grid_size patches; None: the places of the feature map.
        stride: clip frames between two sampled frames.
        num_tokens: number of tokens of a clip; a clip with fewer patches keeps all.

    Attributes:
        reads_attention: whether `assign` needs the backbone's attention.

    Raises:
        UserError: a stride below 1, or a grid larger than the feature map.
    """

    planner: PatchPlanner

    budgeted = "num_tokens"
    reads_attention: ClassVar[bool] = False

    def __init__(
        self,
        backbone: Backbone,
        *,
        grid_size: Count | None = None,
        stride: Count = 6,
        num_tokens: Count = 20,
        token_dim: Count | None = None,
        budget: Count | None = None,
    ) -> None:
        side = backbone.feature_size if grid_size is None else check_grid(grid_size, backbone)
        planner = PatchPlanner(
            stride=stride, key_tokens=num_tokens, frame_tokens=0, frame_patches=side**2, budget=budget
        )
        super().__init__(backbone, planner=planner, token_dim=token_dim)
        self.grid_size = side
        self.spatial = match_width(backbone.feature_dim, self.token_dim)

    @abstractmethod
    def assign(self, patches: Patches, planned: PlannedFrames) -> Tensor:
        """The number (B, P) of each patch's token, 1 to `patches.wanted` in any order, or 0 where it is dropped.

        Every token has a patch. Padding has no effect, and the number 0.
        """

    def extract(self, planned: PlannedFrames) -> dict[str, Tensor]:
        """`tokens` (B, k, C): means of patches; `numbers` (B, K, S): the number of each patch's token, 0 for none."""
        features, attention = self.read(planned)
        most = self.planner.num_tokens(features.shape[1])
        # Not in half precision, in which many patches are equally similar.
        with torch.autocast(features.device.type, enabled=False):
            with torch.no_grad():
                there = planned.mask.sum(1) * features.shape[2]
                wanted = there.clamp(max=most)
                patches = Patches(features.detach(), planned.mask, wanted, planned.counts, most, attention)
                numbers = in_order(self.assign(patches, planned), side=self.grid_size, tokens=most)
                count = totals(numbers, torch.ones_like(numbers), most)
            tokens = totals(numbers, features.flatten(1, 2), most) / count.clamp(min=1).unsqueeze(2)
        return {"tokens": tokens, "numbers": numbers.unflatten(1, features.shape[1:3]).int()}

    def read(self, planned: PlannedFrames) -> tuple[Tensor, Tensor | None]:
        """The patches (B, K, S, C), and the attention (B, K, S) that they receive if `reads_attention`."""
        if not self.reads_attention:
            return self.grids(planned, self.grid_size), None
        pooled, received = [], []
        for maps, attention in self.attended_chunks(planned):
            pooled.append(pool_grid(maps.flatten(0, 1), self.grid_size).unflatten(0, maps.shape[:2]))
            grid = pool_grid(attention.flatten(0, 1).unsqueeze(1), self.grid_size).squeeze(2)
            received.append(grid.detach().unflatten(0, maps.shape[:2]))
        return torch.cat(pooled, dim=1), torch.cat(received, dim=1)

    def project(self, pooled: dict[str, Tensor], planned: PlannedFrames) -> VideoTokens:
        tokens = self.spatial(pooled["tokens"])
        numbers, side, most = pooled["numbers"].flatten(1).long(), self.grid_size, tokens.shape[1]
        patch = torch.arange(numbers.shape[1], device=numbers.device).expand_as(numbers)
        count = totals(numbers, torch.ones_like(numbers), most)
        some = count.clamp(min=1)
        times = planned.timestamps.repeat_interleave(side**2, dim=1)
        rows, columns = (totals(numbers, key, most) / some for key in (patch // side % side, patch % side))
        return VideoTokens(
            tokens=tokens,
            kind=torch.full((most,), SPATIAL, device=tokens.device),
            timestamps=totals(numbers, times, most) / some,
            mask=count > 0,
            places=(torch.stack([rows, columns], dim=2) + 0.5) / side,
            weights=count * (self.backbone.feature_size / side) ** 2,
        )

    def token_map(self, planned: PlannedFrames) -> Tensor:
        pooled = self.extract(planned) if planned.pooled is None else planned.pooled
        return pooled["numbers"].unflatten(2, (self.grid_size, self.grid_size))
