"""The next video token by a small flow-matching network."""

from itertools import pairwise

import torch
from torch import Tensor, nn

from vtok.common.setting_types import Count
from vtok.visual_head.base import VisualHead

# Number of noise vectors that the expected token is averaged over.
DRAWS = 16


class FlowHead(VisualHead):
    """Flow matching for one token at a time (MAR, Li et al. 2024, with the straight paths of Lipman et al. 2023).

    A network of three layers turns noise into a token, given the hidden state.

    Args:
        hidden_dim: width of the hidden states.
        token_dim: width of the video tokens.
        width: width of the network.
        steps: number of Euler steps from noise to a token.
        repeats: number of noise levels that a token is trained at in one step. They cost little, because the network is
            small compared to the language model.
    """

    def __init__(
        self, hidden_dim: int, token_dim: int, *, width: Count = 256, steps: Count = 16, repeats: Count = 4
    ) -> None:
        super().__init__(token_dim)
        self.steps, self.repeats = steps, repeats
        self.condition = nn.Linear(hidden_dim, width)
        self.time = nn.Sequential(nn.Linear(1, width), nn.SiLU(), nn.Linear(width, width))
        self.enter = nn.Linear(token_dim, width)
        self.blocks = nn.ModuleList(Block(width) for _ in range(2))
        self.leave = nn.Linear(width, token_dim)

    @property
    def noise_dim(self) -> int:
        return self.token_dim

    def errors(self, hidden: Tensor, target: Tensor) -> Tensor:
        """The squared error of the velocity, at noise drawn from torch's random numbers."""
        hidden, target = hidden.repeat(self.repeats, 1), target.repeat(self.repeats, 1)
        sigma = torch.randn(len(target), 1, device=target.device).sigmoid()
        noise = torch.randn_like(target)
        velocity = self.velocity((1 - sigma) * target + sigma * noise, sigma, hidden)
        return (velocity - (noise - target)).square().mean(-1).view(self.repeats, -1).mean(0)

    def mean(self, hidden: Tensor) -> Tensor:
        """The expected tokens, from the velocity at pure noise: noise minus expected token.

        The network is accurate only near the noise of training, which has a length of about sqrt(d). The mean is
        therefore taken over DRAWS fixed noise vectors, in pairs of opposite sign, the same for all tokens.
        """
        drawn = torch.randn(DRAWS // 2, self.token_dim, generator=torch.Generator().manual_seed(0)).to(hidden.device)
        ones = drawn.new_ones(len(hidden), 1)
        expected = hidden.new_zeros(len(hidden), self.token_dim, dtype=torch.float32)
        for noise in (*drawn, *-drawn):
            expected += (noise - self.velocity(noise.expand(len(hidden), -1), ones, hidden)) / DRAWS
        return expected

    def sample(self, hidden: Tensor, *, noise: Tensor, temperature: float) -> Tensor:
        point = temperature * noise
        sigmas = torch.linspace(1, 0, self.steps + 1, device=hidden.device)
        for now, then in pairwise(sigmas):
            point = point + (then - now) * self.velocity(point, now.expand(len(point), 1), hidden)
        return point

    def velocity(self, point: Tensor, sigma: Tensor, hidden: Tensor) -> Tensor:
        """The predicted noise minus token (N, d) at `point` (N, d), which is `sigma` (N, 1) of the way to noise."""
        condition = self.condition(hidden).float() + self.time(sigma)
        state = self.enter(point)
        for block in self.blocks:
            state = block(state, condition)
        return self.leave(state)


class Block(nn.Module):
    """A residual layer whose scale and shift come from the condition."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.modulate = nn.Sequential(nn.SiLU(), nn.Linear(width, 2 * width))
        self.layers = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, state: Tensor, condition: Tensor) -> Tensor:
        """The new state (N, width), from a state and a condition (N, width)."""
        scale, shift = self.modulate(condition).chunk(2, dim=-1)
        return state + self.layers(self.norm(state) * (1 + scale) + shift)
