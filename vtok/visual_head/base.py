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

    The moments of two sets of tokens add up to those of their union (Chan et al. 1979), which is exact to more digits
    in float32 than sums of squares are.
    """

    number: Tensor
    mean: Tensor
    squares: Tensor

    @classmethod
    def of(cls, parts: Sequence[Tensor]) -> "Moments":
        """Of the tokens (N, d) of each kind."""
        means = [part.sum(0) / max(1, len(part)) for part in parts]
        squares = [(part - mean).square().sum(0) for part, mean in zip(parts, means, strict=True)]
        number = means[0].new_tensor([[len(part)] for part in parts])
        return cls(number, torch.stack(means), torch.stack(squares))

    def __add__(self, other: "Moments") -> "Moments":
        number = self.number + other.number
        share = other.number / number.clamp(min=1e-9)  # of no tokens at all: 0
        apart = other.mean - self.mean
        squares = self.squares + other.squares + self.number * share * apart.square()
        return Moments(number, self.mean + share * apart, squares)

    def of_all_processes(self) -> "Moments":
        """Of all processes together; all of them have to ask."""
        sizes = [1, *[self.mean.shape[1]] * 2]
        packed = gathered_tensors(torch.cat([self.number, self.mean, self.squares], dim=1))
        first, *others = [Moments(*one.split(sizes, dim=1)) for one in packed]
        return sum(others, start=first)


class TokenScale(nn.Module):
    """Running mean and standard deviation of video tokens, one pair for spatial and one for motion tokens.

    Visual heads predict standardised tokens. Their standard deviation is 1 whatever the tokeniser does, so that tokens
    that all become alike are no easier to predict.

    In training, `add` takes in the tokens of each micro-batch and `update` ends the step. How a step was divided into
    micro-batches and processes makes no difference. Within a step the scale is constant.

    Args:
        token_dim: width d of the tokens.
        momentum: weight of all earlier steps in an update.
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
        # Kinds that are known to have been seen, so that the device is not asked at every step.
        self._seen_kinds: set[int] = set()
        # Of the step that is under way. Checkpoints are saved between steps, when there is none.
        self._step: Moments | None = None

    def has_seen(self, kinds: Tensor) -> bool:
        """Whether tokens of each of the kinds (L,), on the CPU, were measured. What was seen once stays so."""
        wanted = set(kinds.tolist())
        if not wanted <= self._seen_kinds:
            self._seen_kinds = set(self.seen.nonzero().flatten().tolist())
        return wanted <= self._seen_kinds

    @torch.no_grad()
    def add(self, tokens: Tensor, kind: Tensor, mask: Tensor) -> None:
        """Take in the tokens (B, L, d) of kinds (L,) of a micro-batch where mask (B, L) is True."""
        parts = [tokens[:, kind == number][mask[:, kind == number]].float() for number in (0, 1)]
        added = Moments.of(parts)
        self._step = added if self._step is None else self._step + added

    @torch.no_grad()
    def update(self, *, discard: bool = False) -> None:
        """End a step: the tokens that all processes added go into the running moments. All processes have to call it.

        `discard`: forget them instead.
        """
        own, self._step = self._step, None
        if discard:
            return
        step = (own or Moments.of([self.mean[:0]] * 2)).of_all_processes()
        # Early on, all steps count the same: what the average began with must not.
        seen = self.seen.unsqueeze(1)
        # The first token, where it comes alone, says nothing of the spread, which stays 1 until the next.
        is_first = (seen == 0) & (step.number <= 1)
        variance = torch.where(is_first, self.spread.square(), step.squares / step.number.clamp(min=1))
        kept = (seen / (seen + 1)).clamp(max=self.momentum)
        before = Moments(kept, self.mean, kept * self.spread.square())
        after = before + Moments(1 - kept, step.mean, (1 - kept) * variance)
        known = step.number > 0
        self.mean.copy_(torch.where(known, after.mean, self.mean))
        self.spread.copy_(torch.where(known, after.squares.sqrt(), self.spread))
        self.seen += known.squeeze(1)

    def standardise(self, tokens: Tensor, kind: Tensor) -> Tensor:
        """Tokens (B, L, d) of kinds (L,) to mean 0 and spread 1."""
        return (tokens.float() - self.mean[kind]) / self._unit[kind]

    def restore(self, standardised: Tensor, kind: Tensor) -> Tensor:
        """The way back."""
        return standardised * self._unit[kind] + self.mean[kind]

    @property
    def _unit(self) -> Tensor:
        """The spread, but no less than a hundredth of the usual one: the tokens of a step are not in the scale yet, and
        a dimension that has been constant until then would give targets without bound.
        """
        usual = self.spread.square().mean(1, keepdim=True).sqrt()
        return self.spread.maximum((0.01 * usual).clamp(min=1e-6))


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
