"""A moving average of the weights, in which the noise of the last steps cancels out."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from vtok.common.distributed import local
from vtok.training.model_tensors import trained_weights


class Ema:
    """An exponential moving average of a model's trained parameters, in fp32 whatever their own precision.

    After n updates it is decay^n w_0 + (1 - decay) * sum over i = 1..n of decay^(n - i) w_i, where w_0 are the weights
    that the average was made with and w_i those at update i. It looks back over about 1 / (1 - decay) updates: 100 at
    0.99, 10,000 at 0.9999. The decay is the same from the first update on, so that after few updates w_0 still weighs
    much: choose a decay with 1 / (1 - decay) well below the number of steps. Buffers are left as they are. Of
    weights that are cut each process averages its parts.

    Args:
        model: on the device that it is trained on; its parameters must stay the same objects.
        decay: share of what is kept at each update, in [0, 1).
    """

    def __init__(self, model: nn.Module, *, decay: float) -> None:
        self._decay = decay
        self._trained = trained_weights(model)
        self._average = {name: tensor.detach().to(torch.float32, copy=True) for name, tensor in self._trained.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Take the weights as they are now into the average."""
        now = [local(tensor).float() for tensor in self._trained.values()]
        torch._foreach_lerp_([local(tensor) for tensor in self._average.values()], now, 1 - self._decay)

    @contextmanager
    def swapped(self) -> Iterator[None]:
        """The average in the model; the trained weights are back, bit for bit, when the context ends, however it does.

        Not to be entered twice at once, nor are weights to be trained within.
        """
        kept = {name: tensor.detach().clone() for name, tensor in self._trained.items()}
        try:
            copy(self._average, self._trained)
            yield
        finally:
            copy(kept, self._trained)

    def state(self) -> dict[str, Tensor]:
        """The average by the parameters' names, fp32; not a copy."""
        return dict(self._average)

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what `state` returned for a model with parameters of the same names and shapes."""
        copy(state, self._average)


@torch.no_grad()
def copy(source: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> None:
    """Fill each tensor of `target`, in place, with the one of its name in `source`, rounded to its precision.

    Those that are cut are so in both.
    """
    torch._foreach_copy_([local(tensor) for tensor in target.values()], [local(source[name]) for name in target])
