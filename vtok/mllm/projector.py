"""phi_vis: video tokens into the language model's embedding space."""

from torch import nn


class VisualProjector(nn.Sequential):
    """Two linear layers with a GELU between them (VTok, section 3.3; the shape of LLaVA-NeXT's projector).

    Maps video tokens (B, L, token_dim) to embeddings (B, L, width).
    """

    def __init__(self, *, token_dim: int, width: int) -> None:
        super().__init__(nn.Linear(token_dim, width), nn.GELU(), nn.Linear(width, width))
