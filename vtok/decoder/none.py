"""The decoder of a model that only understands."""

from torch import nn


class NoDecoder(nn.Module):
    """Has no parameters and makes no video: the model has no decoding.

    Args:
        condition_dim: width of the hidden states.
    """

    is_absent = True

    def __init__(self, condition_dim: int) -> None:
        super().__init__()
