"""The head of a model that predicts no video tokens."""

from torch import nn


class NoVisualHead(nn.Module):
    """A head without parameters, for models without visual language modelling.

    Args:
        hidden_dim: width of the hidden states.
        token_dim: width of the video tokens.
    """

    is_absent = True

    def __init__(self, hidden_dim: int, token_dim: int) -> None:
        super().__init__()
