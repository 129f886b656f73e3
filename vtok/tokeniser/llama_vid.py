"""LLaMA-VID (Li et al. 2023, arXiv 2311.17043): two tokens a frame, one of which depends on the question."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from vtok.backbone import Backbone
from vtok.common.setting_types import Count
from vtok.data.plan import StridePlanner
from vtok.tokeniser.base import (
    SPATIAL,
    Tokeniser,
    VideoTokens,
    cell_places,
    check_grid,
    match_width,
    no_places,
    pool_grid,
)
from vtok.tokeniser.planned_frames import PlannedFrames

# Numbers in the feature maps of the rows whose attention is computed at once: 256 MB in float32.
FEATURES_AT_ONCE = 2**26


class LlamaVidTokeniser(Tokeniser):
    """Of every sampled frame a context token, which depends on the question, then its content tokens (LLaMA-VID).

    content_t = pool_grid(X_t)                                                 S = grid_size^2 tokens, 1 by default
    context_t = W mean_i(softmax(q_i X_t^T / sqrt(C)) X_t) + b                 1 token

    X_t are the features of the places of frame t, q_i the query of word i of the question; words are tokens of the
    language model. A question is all text between the video tokens and the answer, so the answer is never read. Tokens
    that `encode` gives are those without a question: all queries are zeros, which makes the context token the mean of
    the places.

    Different from the paper and its authors' code: a query is a linear function of the word's input embedding in the
    language model, normalised, and that embedding is trained by it (`QuestionEncoder`), instead of the output of a
    Q-Former or BERT that reads the question and the frame. The keys are the features, as in the paper's formula: the
    code's linear layer of the keys would add nothing to that of the queries. 1 / sqrt(C) is the code's. Context and
    content tokens are both standardised and share phi_vis, instead of one projection into the language model each.

    All tokens are SPATIAL: they are features, not changes.

    Args:
        grid_size: every sampled frame becomes grid_size x grid_size content tokens, and one context token.
        stride: clip frames between two sampled frames.

    Raises:
        UserError: a stride below 1, or a grid larger than the feature map.
    """

    reads_question = True
    budgeted = "stride"

    def __init__(
        self,
        backbone: Backbone,
        *,
        grid_size: Count = 1,
        stride: Count = 3,
        token_dim: Count | None = None,
        budget: Count | None = None,
    ) -> None:
        tokens = 1 + grid_size**2
        planner = StridePlanner(stride=stride, key_tokens=tokens, frame_tokens=tokens, budget=budget)
        super().__init__(backbone, planner=planner, token_dim=token_dim)
        self.grid_size = check_grid(grid_size, backbone)
        self.content = match_width(backbone.feature_dim, self.token_dim)
        self.context = nn.Linear(backbone.feature_dim, self.token_dim)

    def extract(self, planned: PlannedFrames) -> dict[str, Tensor]:
        """`grid` (B, K, S, C): the pooled frames in temporal order; `patches` (B, K, P, C): all their places."""
        maps = self.features(planned)
        grid = pool_grid(maps.flatten(0, 1), self.grid_size).unflatten(0, maps.shape[:2])
        return {"grid": grid, "patches": maps.flatten(3).mT}

    def project(self, pooled: dict[str, Tensor], planned: PlannedFrames) -> VideoTokens:
        patches, cells = pooled["patches"], self.grid_size**2
        tokens = torch.cat([self.context(patches.mean(2, keepdim=True)), self.content(pooled["grid"])], dim=2)
        places = torch.cat([no_places(1, like=tokens), cell_places(self.grid_size, like=tokens)])
        # Not in the tokens' type, which may be bfloat16.
        sizes = torch.full((1 + cells,), 1 / cells, device=tokens.device)
        sizes[0] = 1
        batch, frames = planned.mask.shape
        return VideoTokens(
            tokens=tokens.flatten(1, 2),
            kind=torch.full((frames * (1 + cells),), SPATIAL, device=tokens.device),
            timestamps=planned.timestamps.repeat_interleave(1 + cells, dim=1),
            mask=planned.mask.repeat_interleave(1 + cells, dim=1),
            places=places.repeat(batch, frames, 1),
            weights=self.backbone.feature_size**2 * sizes.repeat(batch, frames),
            patches=patches,
            clip_of_row=torch.arange(batch, device=tokens.device),
        )

    def condition(self, video: VideoTokens, queries: Tensor, there: Tensor) -> VideoTokens:
        if video.patches is None or video.clip_of_row is None:
            return video
        number = max(1, FEATURES_AT_ONCE // video.patches[0].numel())
        seen = [
            attended(video.patches[clips], words, present)
            for clips, words, present in zip(
                video.clip_of_row.split(number), queries.split(number), there.split(number), strict=True
            )
        ]
        context = self.context(torch.cat(seen)).unsqueeze(2)
        frames = video.tokens.unflatten(1, (-1, 1 + self.grid_size**2))
        tokens = torch.cat([context, frames[:, :, 1:]], dim=2).flatten(1, 2)
        return replace(video, tokens=tokens, patches=None, clip_of_row=None)


def attended(patches: Tensor, queries: Tensor, there: Tensor) -> Tensor:
    """What the words of a question see of each frame: the mean over words of softmax(q X^T / sqrt(C)) X.

    Args:
        patches: (B, K, P, C), the features X of the P places of K frames.
        queries: (B, n, C).
        there: (B, n), True at the words; without any the result is 0.

    Returns:
        (B, K, C).
    """
    scores = torch.einsum("bnc,bkpc->bnkp", queries, patches) / patches.shape[-1] ** 0.5
    share = there / there.sum(1, keepdim=True).clamp(min=1)
    # The mean of the weights, so that the features are summed once and not for every word.
    weights = torch.einsum("bn,bnkp->bkp", share, scores.softmax(-1))
    return torch.einsum("bkp,bkpc->bkc", weights, patches)
