"""A moving average of the weights, which cancels the noise of single steps."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from vtok.common.distributed import local
from vtok.training.model_tensors import trained_weights


class Ema:
    """An exponential moving average of a model's trained parameters, always in fp32.

    After n updates it is decay^n w_0 + (1 - decay) * sum over i = 1..n of decay^(n - i) w_i, where w_0 are the initial
    weights and w_i those at update i. It covers about 1 / (1 - decay) updates: 100 at 0.99, 10,000 at 0.9999. The decay
    is constant, so w_0 has a large weight in the first updates: choose a decay with 1 / (1 - decay) well below the
    number of steps. Buffers are not averaged. If weights are sharded, each process averages its shards.

    Args:
        model: model on its training device; its parameters must stay the same objects.
        decay: weight of the old average in an update, in [0, 1).
    """

    def __init__(self, model: nn.Module, *, decay: float) -> None:
        self._decay = decay
        self._trained = trained_weights(model)
        self._average = {name: tensor.detach().to(torch.float32, copy=True) for name, tensor in self._trained.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Update the average with the current weights."""
        now = [local(tensor).float() for tensor in self._trained.values()]
        torch._foreach_lerp_([local(tensor) for tensor in self._average.values()], now, 1 - self._decay)

    @contextmanager
    def swapped(self) -> Iterator[None]:
        """A context in which the model has the average as its weights; then it has the trained ones again, unchanged.

        The context must not be nested, and the weights must not be trained in it.
        """
        trained = {name: tensor.detach().clone() for name, tensor in self._trained.items()}
        try:
            copy(self._average, self._trained)
            yield
        finally:
            copy(trained, self._trained)

    def state(self) -> dict[str, Tensor]:
        """The fp32 average by parameter name, not copied."""
        return dict(self._average)

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Load the `state` of a model with parameters of the same names and shapes."""
        copy(state, self._average)


@torch.no_grad()
def copy(source: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> None:
    """Copy each tensor of `source` into the one of the same name in `target`, in the precision of `target`.

    A tensor that is sharded must be sharded in both.
    """
    torch._foreach_copy_([local(tensor) for tensor in target.values()], [local(source[name]) for name in target])
