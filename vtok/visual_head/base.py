"""The contract of all visual heads: a hidden state in, the next video token out."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vtok.common.distributed import gathered_tensors


@dataclass(frozen=True)
class Moments:
    """Number (2, 1), mean (2, d) and summed squared deviations (2, d) of tokens, by kind.

    The sum of two moments is that of the union of their tokens (Chan et al. 1979). In float32 this is more accurate
    than sums of squares.
    """

    number: Tensor
    mean: Tensor
    squares: Tensor

    @classmethod
    def of(cls, parts: Sequence[Tensor]) -> "Moments":
        """The moments of the tokens (N, d) of each kind."""
        means = [part.sum(0) / max(1, len(part)) for part in parts]
        squares = [(part - mean).square().sum(0) for part, mean in zip(parts, means, strict=True)]
        number = means[0].new_tensor([[len(part)] for part in parts])
        return cls(number, torch.stack(means), torch.stack(squares))

    def __add__(self, other: "Moments") -> "Moments":
        number = self.number + other.number
        share = other.number / number.clamp(min=1e-9)  # 0 if there are no tokens
        difference = other.mean - self.mean
        squares = self.squares + other.squares + self.number * share * difference.square()
        return Moments(number, self.mean + share * difference, squares)

    def over_processes(self) -> "Moments":
        """The moments of the tokens of all processes, which all have to call it."""
        sizes = [1, *[self.mean.shape[1]] * 2]
        packed = gathered_tensors(torch.cat([self.number, self.mean, self.squares], dim=1))
        first, *others = [Moments(*one.split(sizes, dim=1)) for one in packed]
        return sum(others, start=first)


class TokenScale(nn.Module):
    """Running mean and standard deviation of video tokens, one pair for spatial and one for motion tokens.

    Visual heads predict standardised tokens, whose standard deviation is always 1. A tokeniser therefore cannot make
    tokens easier to predict by making them more alike.

    In training, `add` takes the tokens of each micro-batch and `update` ends the step. The division of a step into
    micro-batches and processes makes no difference. Within a step the scale is constant.

    Args:
        token_dim: width d of the tokens.
        momentum: weight of all earlier steps in an update.

    Attributes:
        mean: (2, d) running mean of each kind.
        spread: (2, d) running standard deviation of each kind.
        seen: (2,) number of steps that had tokens of each kind.
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
        # A copy on the CPU of which kinds were seen, to avoid waiting for the device at every step.
        self._seen_kinds: set[int] = set()
        # The moments of the current step; None between steps, when checkpoints are saved.
        self._step: Moments | None = None

    def has_seen(self, kinds: Tensor) -> bool:
        """Whether an earlier step had tokens of each of the kinds (L,), a tensor on the CPU."""
        wanted = set(kinds.tolist())
        if not wanted <= self._seen_kinds:
            self._seen_kinds = set(self.seen.nonzero().flatten().tolist())
        return wanted <= self._seen_kinds

    @torch.no_grad()
    def add(self, tokens: Tensor, kind: Tensor, mask: Tensor) -> None:
        """Add the tokens (B, L, d) of kinds (L,) of a micro-batch where mask (B, L) is True."""
        parts = [tokens[:, kind == number][mask[:, kind == number]].float() for number in (0, 1)]
        added = Moments.of(parts)
        self._step = added if self._step is None else self._step + added

    @torch.no_grad()
    def update(self, *, discard: bool = False) -> None:
        """End a step: update the running moments with the tokens of all processes, which all have to call it.

        Args:
            discard: whether the tokens of the step are ignored instead.
        """
        own, self._step = self._step, None
        if discard:
            return
        step = (own or Moments.of([self.mean[:0]] * 2)).over_processes()
        # Early steps all have the same weight, so the initial values have none.
        seen = self.seen.unsqueeze(1)
        # A single first token has no standard deviation, so it stays 1 until the next step.
        is_first = (seen == 0) & (step.number <= 1)
        variance = torch.where(is_first, self.spread.square(), step.squares / step.number.clamp(min=1))
        weight = (seen / (seen + 1)).clamp(max=self.momentum)
        before = Moments(weight, self.mean, weight * self.spread.square())
        after = before + Moments(1 - weight, step.mean, (1 - weight) * variance)
        known = step.number > 0
        self.mean.copy_(torch.where(known, after.mean, self.mean))
        self.spread.copy_(torch.where(known, after.squares.sqrt(), self.spread))
        self.seen += known.squeeze(1)

    def standardise(self, tokens: Tensor, kind: Tensor) -> Tensor:
        """Scale tokens (B, L, d) of kinds (L,) to mean 0 and standard deviation 1."""
        return (tokens.float() - self.mean[kind]) / self._divisor[kind]

    def unstandardise(self, standardised: Tensor, kind: Tensor) -> Tensor:
        """The inverse of `standardise`."""
        return standardised * self._divisor[kind] + self.mean[kind]

    @property
    def _divisor(self) -> Tensor:
        """The standard deviation, at least a hundredth of the average over dimensions.

        The current step is not in the scale yet. A dimension that was constant before would give unbounded targets.
        """
        average = self.spread.square().mean(1, keepdim=True).sqrt()
        return self.spread.maximum((0.01 * average).clamp(min=1e-6))


class VisualHead(nn.Module, ABC):
    """Predicts standardised video tokens (mean 0, standard deviation 1 in every dimension) from hidden states.

    Attributes:
        token_dim: width d of the video tokens.
        scale: mean and standard deviation that tokens are standardised by.
    """

    def __init__(self, token_dim: int) -> None:
        super().__init__()
        self.token_dim = token_dim
        self.scale = TokenScale(token_dim)

    def loss(self, hidden: Tensor, target: Tensor) -> Tensor:
        """The mean error of the predictions from hidden states (N, D) of tokens (N, d); 0 if N is 0."""
        errors = self.errors(hidden, target)
        return errors.sum() / max(1, len(errors))

    @abstractmethod
    def errors(self, hidden: Tensor, target: Tensor) -> Tensor:
        """The error (N,) of each prediction from hidden states (N, D) of tokens (N, d), a mean over d."""

    @abstractmethod
    def mean(self, hidden: Tensor) -> Tensor:
        """The expected tokens (N, d) after hidden states (N, D)."""

    @abstractmethod
    def sample(self, hidden: Tensor, *, noise: Tensor, temperature: float) -> Tensor:
        """Tokens (N, d) after hidden states (N, D), drawn at random if the head models a distribution.

        Args:
            hidden: (N, D).
            noise: (N, noise_dim), standard normal; the only source of randomness.
            temperature: factor on the standard deviation; 0: the head's approximation of the most likely token.
        """

    @property
    @abstractmethod
    def noise_dim(self) -> int:
        """Number of random numbers for one token."""
