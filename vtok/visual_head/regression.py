"""The next video token by regression."""

from typing import Literal, get_args

from torch import Tensor, nn
from torch.nn import functional as F

from vtok.common.errors import UserError
from vtok.visual_head.base import VisualHead

Loss = Literal["mse", "cosine"]


class RegressionHead(VisualHead):
    """Predicts the expected token, with a squared or a cosine error.

    If a caption fits many videos, the prediction is the mean of their tokens.

    Args:
        hidden_dim: width of the hidden states.
        token_dim: width of the video tokens.
        loss: "mse", or "cosine" (1 - cosine, plus the squared error of the length).

    Raises:
        UserError: `loss` is neither of these.
    """

    noise_dim = 0

    def __init__(self, hidden_dim: int, token_dim: int, *, loss: Loss = "mse") -> None:
        super().__init__(token_dim)
        if loss not in get_args(Loss):
            raise UserError(f"visual_head.loss={loss} is unknown. Use {' or '.join(get_args(Loss))}.")
        self.kind = loss
        self.layers = nn.Sequential(nn.Linear(hidden_dim, hidden_dim), nn.GELU(), nn.Linear(hidden_dim, token_dim))

    def errors(self, hidden: Tensor, target: Tensor) -> Tensor:
        predicted = self.mean(hidden)
        if self.kind == "mse":
            return (predicted - target).square().mean(-1)
        angle = 1 - F.cosine_similarity(predicted, target, dim=-1)
        scale = target.shape[-1] ** 0.5
        length = (predicted.norm(dim=-1) - target.norm(dim=-1)) / scale
        return angle + length.square()

    def mean(self, hidden: Tensor) -> Tensor:
        return self.layers(hidden).float()

    def sample(self, hidden: Tensor, *, noise: Tensor, temperature: float) -> Tensor:
        return self.mean(hidden)
