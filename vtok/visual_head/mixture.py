"""The next video token as a mixture of Gaussians."""

import math

import torch
from torch import Tensor, nn

from vtok.common.setting_types import Count
from vtok.visual_head.base import VisualHead

LOG_SPREAD = (-4.0, 1.0)


class MixtureHead(VisualHead):
    """A mixture of diagonal Gaussians, trained by negative log-likelihood (GIVT, Tschannen et al. 2024).

    Args:
        hidden_dim: width of the hidden states.
        token_dim: width of the video tokens.
        components: number of Gaussians in the mixture.
    """

    def __init__(self, hidden_dim: int, token_dim: int, *, components: Count = 8) -> None:
        super().__init__(token_dim)
        self.components = components
        self.layers = nn.Sequential(
            nn.Linear(hidden_dim, hidden_dim),
            nn.GELU(),
            nn.Linear(hidden_dim, components * (1 + 2 * token_dim)),
        )

    @property
    def noise_dim(self) -> int:
        return 1 + self.token_dim

    def errors(self, hidden: Tensor, target: Tensor) -> Tensor:
        """The negative log-likelihood in nats per dimension."""
        weights, centres, log_spreads = self.mixture(hidden)
        distance = (target.unsqueeze(1) - centres) * (-log_spreads).exp()
        log_density = -0.5 * distance.square() - log_spreads - 0.5 * math.log(2 * math.pi)
        return -torch.logsumexp(weights + log_density.sum(-1), dim=-1) / self.token_dim

    def mean(self, hidden: Tensor) -> Tensor:
        weights, centres, _ = self.mixture(hidden)
        return (weights.exp().unsqueeze(-1) * centres).sum(1)

    def sample(self, hidden: Tensor, *, noise: Tensor, temperature: float) -> Tensor:
        weights, centres, log_spreads = self.mixture(hidden)
        if temperature == 0:
            chosen = weights.argmax(-1)
        else:
            # The first number, mapped to a uniform distribution, selects the component.
            share = 0.5 * (1 + torch.erf(noise[:, :1] / math.sqrt(2)))
            cumulative = (weights / temperature).softmax(-1).cumsum(-1)
            chosen = (share > cumulative).sum(-1).clamp(max=self.components - 1)
        rows = torch.arange(len(hidden), device=hidden.device)
        return centres[rows, chosen] + temperature * log_spreads[rows, chosen].exp() * noise[:, 1:]

    def mixture(self, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Log-weights (N, k), centres and log-spreads (N, k, d)."""
        weights, centres, log_spreads = (
            self.layers(hidden).float().split([self.components, *[self.components * self.token_dim] * 2], dim=-1)
        )
        shape = (self.components, self.token_dim)
        return (
            weights.log_softmax(-1),
            centres.unflatten(-1, shape),
            log_spreads.unflatten(-1, shape).clamp(*LOG_SPREAD),
        )
