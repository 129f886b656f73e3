"""The decoder of a model that only understands."""

from torch import nn


class NoDecoder(nn.Module):
    """No decoder: it has no parameters and generates no videos.

    Args:
        condition_dim: width of the hidden states.
    """

    is_absent = True

    def __init__(self, condition_dim: int) -> None:
        super().__init__()
