"""Small readers of video tokens."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vtok.tokeniser import VideoTokens


def placed(video: VideoTokens, number: int) -> Tensor:
    """Tokens (B, L, d) side by side, (B, number * d), zeros where a clip has fewer."""
    tokens = video.tokens * video.mask.unsqueeze(-1)
    return nn.functional.pad(tokens, (0, 0, 0, number - tokens.shape[1])).flatten(1)


class LinearProbe(nn.Module):
    """What is linear in the tokens, each place of the sequence with weights of its own.

    Args:
        tokens: places, those of the longest clip.
        token_dim: width of a token.
        outputs: how many numbers each output has.
    """

    def __init__(self, *, tokens: int, token_dim: int, outputs: Sequence[int]) -> None:
        super().__init__()
        self.tokens, self.outputs = tokens, list(outputs)
        # Tokens of different tokenisers are of different size; what is learnt must not depend on it.
        self.norm = nn.BatchNorm1d(tokens * token_dim, affine=False)
        self.read = nn.Linear(tokens * token_dim, sum(outputs))

    def forward(self, video: VideoTokens) -> list[Tensor]:
        """Tokens (B, L, d) -> an output (B, n) each."""
        return list(self.read(self.norm(placed(video, self.tokens))).split(self.outputs, dim=1))


class AttentiveProbe(nn.Module):
    """One learned query for each output, that looks at all tokens once (as V-JEPA is probed, Bardes et al. 2024).

    Args:
        tokens: places, those of the longest clip; each has an embedding, as in a language model.
        token_dim: width of a token.
        outputs: how many numbers each output has.
        width, heads: of the attention.
    """

    def __init__(
        self, *, tokens: int, token_dim: int, outputs: Sequence[int], width: int = 128, heads: int = 4
    ) -> None:
        super().__init__()
        self.enter = nn.Linear(token_dim, width)
        self.place = nn.Parameter(0.02 * torch.randn(tokens, width))
        self.norm = nn.LayerNorm(width)
        self.queries = nn.Parameter(0.02 * torch.randn(len(outputs), width))
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.think = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )
        self.read = nn.ModuleList(nn.Linear(width, number) for number in outputs)

    def forward(self, video: VideoTokens) -> list[Tensor]:
        """Tokens (B, L, d) -> an output (B, n) each."""
        tokens = self.norm(self.enter(video.tokens) + self.place[: video.tokens.shape[1]])
        queries = self.queries.expand(len(tokens), -1, -1)
        seen, _ = self.attention(queries, tokens, tokens, key_padding_mask=~video.mask, need_weights=False)
        seen = seen + self.think(seen)
        return [read(seen[:, number]) for number, read in enumerate(self.read)]
