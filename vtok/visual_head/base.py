"""The contract of all visual heads: a hidden state in, the next video token out."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from vtok.processes import moments


class TokenScale(nn.Module):
    """Running mean and spread of video tokens, a pair for spatial and one for motion tokens.

    What is predicted are standardised tokens. Their spread is 1 whatever the tokeniser does, so that tokens that all
    become alike are no easier to predict.

    Args:
        token_dim: d.
        momentum: share of what is kept from before at each update.
    """

    mean: Tensor
    spread: Tensor
    seen: Tensor

    def __init__(self, token_dim: int, *, momentum: float = 0.98) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("mean", torch.zeros(2, token_dim))
        self.register_buffer("spread", torch.ones(2, token_dim))
        self.register_buffer("seen", torch.zeros(2, dtype=torch.long))

    @torch.no_grad()
    def update(self, tokens: Tensor, kind: Tensor, mask: Tensor) -> None:
        """Take tokens (B, L, d) of kinds (L,), of all processes, into account where mask (B, L) is True."""
        for number in (0, 1):
            own = tokens[:, kind == number][mask[:, kind == number]].float()
            count, mean, spread = moments(own)
            if count > 1:
                # Early on, all batches count the same: what the average began with must not.
                seen = self.seen[number].item()
                keep = min(self.momentum, seen / (seen + 1))
                self.mean[number].lerp_(mean, 1 - keep)
                self.spread[number].lerp_(spread, 1 - keep)
                self.seen[number] += 1

    def standardise(self, tokens: Tensor, kind: Tensor) -> Tensor:
        """Tokens (B, L, d) of kinds (L,) to mean 0 and spread 1."""
        return (tokens.float() - self.mean[kind]) / self.spread[kind].clamp(min=1e-6)

    def restore(self, standardised: Tensor, kind: Tensor) -> Tensor:
        """The way back."""
        return standardised * self.spread[kind].clamp(min=1e-6) + self.mean[kind]


class VisualHead(nn.Module, ABC):
    """Predicts standardised video tokens (mean 0, spread 1 in every dimension) from hidden states.

    Attributes:
        token_dim: d.
        scale: video tokens to standardised ones and back.
    """

    def __init__(self, token_dim: int) -> None:
        super().__init__()
        self.token_dim = token_dim
        self.scale = TokenScale(token_dim)

    def loss(self, hidden: Tensor, target: Tensor) -> Tensor:
        """How badly hidden states (N, D) predict tokens (N, d), a mean over N; 0 where N is 0."""
        errors = self.errors(hidden, target)
        return errors.sum() / max(1, len(errors))

    @abstractmethod
    def errors(self, hidden: Tensor, target: Tensor) -> Tensor:
        """How badly each of hidden states (N, D) predicts its token of (N, d): (N,), a mean over d."""

    @abstractmethod
    def mean(self, hidden: Tensor) -> Tensor:
        """The expected tokens (N, d) after hidden states (N, D)."""

    @abstractmethod
    def sample(self, hidden: Tensor, *, noise: Tensor, temperature: float) -> Tensor:
        """Tokens (N, d) after hidden states (N, D), drawn where the head models a distribution.

        Args:
            hidden: (N, D).
            noise: (N, noise_dim), standard normal, all the randomness that is used.
            temperature: factor on the spread; 0 is as near to the likeliest token as the head comes.
        """

    @property
    @abstractmethod
    def noise_dim(self) -> int:
        """Random numbers that one token takes."""
