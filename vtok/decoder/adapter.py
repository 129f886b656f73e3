"""Hidden states to text embeddings of a video model."""

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from vtok.common.errors import UserError
from vtok.common.paths import user_path
from vtok.common.pretrained import UNREADABLE, first_line


class LightAdapter(nn.Module):
    """LayerNorm and an MLP with one hidden layer, times a learnt scale.

    Args:
        condition_dim: input width.
        text_dim: output width.
        width: width of the hidden layer.
        scale: initial scale; with 0 the output is zero until the first step.
    """

    def __init__(self, condition_dim: int, text_dim: int, *, width: int, scale: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(condition_dim)
        self.mlp = nn.Sequential(nn.Linear(condition_dim, width), nn.GELU(), nn.Linear(width, text_dim))
        self.scale = nn.Parameter(torch.tensor(scale))

    def forward(self, condition: Tensor) -> Tensor:
        """(B, L, condition_dim) -> (B, L, text_dim)."""
        return self.scale * self.mlp(self.norm(condition))


def read_text(file: str | Path, text_dim: int) -> Tensor:
    """The `prompt_embeds` (n, text_dim) of a safetensors file, float32.

    Raises:
        UserError: the file cannot be read, or its embeddings have another width.
    """
    wanted = f"It must be a safetensors file with prompt_embeds of shape (n, {text_dim}). Use null for no text."
    try:
        text = load_file(user_path(file))["prompt_embeds"].float()
    except UNREADABLE as error:
        raise UserError(f"decoder.stock_text={file}: it cannot be read ({first_line(error)}). {wanted}") from error
    if text.dim() != 2 or text.shape[1] != text_dim:
        raise UserError(f"decoder.stock_text={file}: its prompt_embeds have the shape {tuple(text.shape)}. {wanted}")
    return text
