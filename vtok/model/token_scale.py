"""The scale of video tokens: what enters phi_vis and what visual heads predict is standardised by it."""

from dataclasses import dataclass
from typing import Any

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
    def of(cls, tokens: Tensor, kind: Tensor, mask: Tensor) -> "Moments":
        """The moments of the tokens (B, L, d) of kinds (L,) where mask (B, L) is True; nothing waits for the device."""
        weights = torch.stack([(kind == number) & mask for number in (0, 1)]).flatten(1).unsqueeze(-1).to(tokens)
        # Padding may hold anything, and 0 x NaN is NaN.
        every = tokens.masked_fill(~mask.unsqueeze(-1), 0.0).flatten(0, 1)
        number = weights.sum(1)
        mean = (weights * every).sum(1) / number.clamp(min=1)
        return cls(number, mean, (weights * (every - mean.unsqueeze(1)).square()).sum(1))

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


# Steps that measure the scale of what enters phi_vis.
INPUT_STEPS = 100


class TokenScale(nn.Module):
    """Mean and standard deviation of video tokens, one pair for spatial and one for motion tokens.

    Tokens that enter phi_vis are standardised, so that no tokeniser learns sooner because of the scale of its features.
    This scale is measured in the first steps and then fixed, as in ActNorm (Kingma & Dhariwal 2018). A running scale
    keeps moving the model's inputs; once the learning rate is near zero the model cannot follow, and loses what it
    learnt about speed.

    Visual heads predict standardised tokens, whose standard deviation is always 1. A tokeniser therefore cannot make
    tokens easier to predict by making them more alike. Their scale is never fixed.

    In training, `add` takes the tokens of each micro-batch and `update` ends the step. The division of a step into
    micro-batches and processes makes no difference. Within a step the scale is constant.

    Args:
        token_dim: width d of the tokens.
        momentum: weight of all earlier steps in an update.
        steps: number of steps that measure the scale of a kind, which is then fixed; None: all steps.

    Attributes:
        mean: (2, d) mean of each kind.
        spread: (2, d) standard deviation of each kind.
        seen: (2,) number of steps that measured each kind.
    """

    mean: Tensor
    spread: Tensor
    seen: Tensor

    def __init__(self, token_dim: int, *, momentum: float = 0.98, steps: int | None = None) -> None:
        super().__init__()
        self.momentum = momentum
        self.steps = steps
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
        added = Moments.of(tokens.float(), kind, mask)
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
        nothing = Moments(self.mean[:, :1] * 0, self.mean * 0, self.mean * 0)
        step = (own or nothing).over_processes()
        # Early steps all have the same weight, so the initial values have none.
        seen = self.seen.unsqueeze(1)
        # A single first token has no standard deviation, so it stays 1 until the next step.
        is_first = (seen == 0) & (step.number <= 1)
        variance = torch.where(is_first, self.spread.square(), step.squares / step.number.clamp(min=1))
        weight = (seen / (seen + 1)).clamp(max=self.momentum)
        before = Moments(weight, self.mean, weight * self.spread.square())
        after = before + Moments(1 - weight, step.mean, (1 - weight) * variance)
        known = step.number > 0
        if self.steps is not None:
            known &= seen < self.steps
        self.mean.copy_(torch.where(known, after.mean, self.mean))
        self.spread.copy_(torch.where(known, after.squares.sqrt(), self.spread))
        self.seen += known.squeeze(1)

    def standardise(self, tokens: Tensor, kind: Tensor) -> Tensor:
        """Scale tokens (B, L, d) of kinds (L,) to mean 0 and standard deviation 1 over the steps that measured them.

        The gradient passes unchanged. Divided by the standard deviation, the gradient of the motion tokens, which vary
        little, would drown that of the spatial tokens, and a small backbone would learn motion alone.
        """
        standardised: Tensor = _Standardise.apply(tokens.float(), self.mean[kind], self._divisor[kind])
        return standardised

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


class _Standardise(torch.autograd.Function):
    """(tokens - mean) / divisor, with the gradient of the identity."""

    @staticmethod
    def forward(ctx: Any, tokens: Tensor, mean: Tensor, divisor: Tensor) -> Tensor:
        return (tokens - mean) / divisor

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        return grads[0], None, None
