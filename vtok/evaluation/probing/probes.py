"""Probes: small modules that predict answers from video tokens."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vtok.model.token_scale import INPUT_STEPS, TokenScale
from vtok.tokeniser import VideoTokens

# Width and number of heads of the attentive probe.
WIDTH, HEADS = 128, 4


def flatten_tokens(video: VideoTokens, number: int) -> Tensor:
    """Tokens (B, L, d) concatenated to (B, number * d), with zeros for missing tokens."""
    tokens = video.tokens * video.mask.unsqueeze(-1)
    return nn.functional.pad(tokens, (0, 0, 0, number - tokens.shape[1])).flatten(1)


class LinearProbe(nn.Module):
    """A linear layer on the concatenated tokens.

    Args:
        tokens: number of tokens of the longest clip.
        token_dim: width of a token.
        outputs: width of each output.
    """

    def __init__(self, *, tokens: int, token_dim: int, outputs: Sequence[int]) -> None:
        super().__init__()
        self.tokens, self.outputs = tokens, list(outputs)
        # Normalised, so that the result does not depend on the scale of a tokeniser's tokens.
        self.norm = nn.BatchNorm1d(tokens * token_dim, affine=False)
        self.read = nn.Linear(tokens * token_dim, sum(outputs))

    def forward(self, video: VideoTokens) -> list[Tensor]:
        """Tokens (B, L, d) -> outputs, each (B, n)."""
        return list(self.read(self.norm(flatten_tokens(video, self.tokens))).split(self.outputs, dim=1))


class AttentiveProbe(nn.Module):
    """Cross-attention with one learned query for each output (the probe of V-JEPA, Bardes et al. 2024).

    Args:
        tokens: number of tokens of the longest clip; each position has an embedding.
        token_dim: width of a token.
        outputs: width of each output.
    """

    def __init__(self, *, tokens: int, token_dim: int, outputs: Sequence[int]) -> None:
        super().__init__()
        # As before phi_vis. Beside features of any other scale, the positions would be lost or drown the tokens.
        self.scale = TokenScale(token_dim, steps=INPUT_STEPS)
        self.project = nn.Linear(token_dim, WIDTH)
        self.positions = nn.Parameter(0.5 * torch.randn(tokens, WIDTH))
        self.norm = nn.LayerNorm(WIDTH)
        self.queries = nn.Parameter(0.02 * torch.randn(len(outputs), WIDTH))
        self.attention = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
        self.mlp = nn.Sequential(
            nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 2 * WIDTH), nn.GELU(), nn.Linear(2 * WIDTH, WIDTH)
        )
        self.read = nn.ModuleList(nn.Linear(WIDTH, number) for number in outputs)

    def forward(self, video: VideoTokens) -> list[Tensor]:
        """Tokens (B, L, d) -> outputs, each (B, n)."""
        if self.training:
            self.scale.add(video.tokens, video.kind, video.mask)
            self.scale.update()
        standardised = self.scale.standardise(video.tokens, video.kind)
        tokens = self.norm(self.project(standardised) + self.positions[: video.tokens.shape[1]])
        queries = self.queries.expand(len(tokens), -1, -1)
        seen, _ = self.attention(queries, tokens, tokens, key_padding_mask=~video.mask, need_weights=False)
        seen = seen + self.mlp(seen)
        return [read(seen[:, number]) for number, read in enumerate(self.read)]
