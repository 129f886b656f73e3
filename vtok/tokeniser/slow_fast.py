"""SlowFast-LLaVA (Xu et al. 2024, arXiv 2407.15841): few frames in detail, many frames coarsely."""

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from vtok.backbone import Backbone
from vtok.common.setting_types import Count
from vtok.data.plan import SlowFastPlanner
from vtok.tokeniser.base import SPATIAL, Tokeniser, VideoTokens, cell_places, check_grid, match_width, pool_grid
from vtok.tokeniser.planned_frames import PlannedFrames


class SlowFastTokeniser(Tokeniser):
    """A fine grid of a few frames (slow), then a coarse grid of every sampled frame (fast) (SlowFast-LLaVA).

    As in the paper, both pathways are pooled from the same features, share their projection and follow each other in
    the sequence, each in temporal order. The paper trains nothing; here a projection is trained if the widths differ.

    All tokens are SPATIAL: they are features, not changes. A clip with fewer frames has fewer slow tokens, so a
    position in the sequence does not identify the pathway.

    With `slow_frames=1 grid_size=4 repeat_slow=false` the layout is VTok's (one frame in full, one token for every
    other sampled frame) without the subtraction and g_phi: a control of both.

    Args:
        grid_size: every slow frame becomes grid_size x grid_size tokens.
        slow_frames: slow frames, evenly spread over the sampled ones, the first and the last among them; a clip of
            fewer sampled frames has all of them.
        fast_grid_size: every sampled frame becomes fast_grid_size x fast_grid_size tokens as well.
        repeat_slow: whether slow frames have fast tokens too, as in the paper.
        stride: clip frames between two sampled frames.

    Raises:
        UserError: a stride or a number of slow frames below 1, or a grid larger than the feature map.
    """

    planner: SlowFastPlanner

    budgeted = "stride"

    def __init__(
        self,
        backbone: Backbone,
        *,
        grid_size: Count = 2,
        slow_frames: Count = 3,
        fast_grid_size: Count = 1,
        repeat_slow: bool = True,
        stride: Count = 4,
        token_dim: Count | None = None,
        budget: Count | None = None,
    ) -> None:
        planner = SlowFastPlanner(
            stride=stride,
            key_tokens=grid_size**2,
            frame_tokens=fast_grid_size**2,
            slow_frames=slow_frames,
            repeat_slow=repeat_slow,
            budget=budget,
        )
        super().__init__(backbone, planner=planner, token_dim=token_dim)
        self.grid_size = check_grid(grid_size, backbone)
        self.fast_grid_size = check_grid(fast_grid_size, backbone, key="fast_grid_size")
        self.spatial = match_width(backbone.feature_dim, self.token_dim)

    def extract(self, planned: PlannedFrames) -> dict[str, Tensor]:
        """`slow` (B, n, S, C): grids of the slow frames, n of the longest clip; `fast` (B, K, s, C): of all."""
        pooled = []
        for maps in self.chunks(planned):
            flat = maps.flatten(0, 1)
            both = [pool_grid(flat, self.grid_size), pool_grid(flat, self.fast_grid_size)]
            pooled.append(torch.cat(both, dim=1).unflatten(0, maps.shape[:2]))
        fine, coarse = torch.cat(pooled, dim=1).split([self.grid_size**2, self.fast_grid_size**2], dim=2)
        places, _ = self.slow(planned)
        rows = torch.arange(len(places), device=places.device).unsqueeze(1)
        return {"slow": fine[rows, places], "fast": coarse}

    def project(self, pooled: dict[str, Tensor], planned: PlannedFrames) -> VideoTokens:
        chosen, there = self.slow(planned)
        times = planned.timestamps
        cells, fast_cells = self.grid_size**2, self.fast_grid_size**2
        tokens = torch.cat([self.spatial(pooled[name]).flatten(1, 2) for name in ("slow", "fast")], dim=1)
        timestamps = torch.cat([each(times.gather(1, chosen), cells), each(times, fast_cells)], dim=1)
        slow, fast = there.shape[1], times.shape[1]
        fast_there, length = planned.mask, slow * cells + fast * fast_cells
        if not self.planner.repeat_slow:
            # The padding of `chosen` is frame 0, which is always slow.
            fast_there, length = fast_there.scatter(1, chosen, False), length - slow * fast_cells
        mask = torch.cat([each(there, cells), each(fast_there, fast_cells)], dim=1)
        fine, coarse = cell_places(self.grid_size, like=tokens), cell_places(self.fast_grid_size, like=tokens)
        # Not in the tokens' type, which may be bfloat16.
        shares = ((slow * cells, 1 / cells), (fast * fast_cells, 1 / fast_cells))
        sizes = torch.cat([torch.full((number,), share, device=tokens.device) for number, share in shares])
        # The padding of a shorter clip's slow tokens goes to the end, and fast tokens that no clip has are cut off.
        order = mask.argsort(dim=1, descending=True, stable=True)[:, :length]
        return VideoTokens(
            tokens=tokens.gather(1, order.unsqueeze(2).expand(-1, -1, tokens.shape[2])),
            kind=torch.full((length,), SPATIAL, device=tokens.device),
            timestamps=timestamps.gather(1, order),
            mask=mask.gather(1, order),
            places=torch.cat([fine.repeat(slow, 1), coarse.repeat(fast, 1)])[order],
            weights=self.backbone.feature_size**2 * sizes[order],
        )

    def slow(self, planned: PlannedFrames) -> tuple[Tensor, Tensor]:
        """Positions (B, n) of the slow frames among the planned frames, and a mask (B, n) of those that a clip has."""
        places = [torch.tensor(self.planner.slow(count)) for count in planned.counts]
        there = pad_sequence([torch.ones_like(one, dtype=torch.bool) for one in places], batch_first=True)
        chosen, device = pad_sequence(places, batch_first=True), planned.mask.device
        return chosen.to(device, non_blocking=True), there.to(device, non_blocking=True)


def each(values: Tensor, tokens: int) -> Tensor:
    """(B, K) values of frames as (B, K * tokens) values of their tokens."""
    return values.repeat_interleave(tokens, dim=1)
