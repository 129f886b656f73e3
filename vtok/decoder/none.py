"""The decoder of a model that only understands."""

from torch import nn


class NoDecoder(nn.Module):
    """Has no parameters and makes no video: the model has the understanding branch alone."""
