"""torch's optimisers with VTok's defaults and bounds, and the memory of their state."""

from collections.abc import Iterable, Mapping, Sequence
from math import prod
from typing import Annotated, Any

import torch
from annotated_types import Ge, Le

from vtok.common.setting_types import Betas, FractionBelowOne, Positive, Rate
from vtok.model.memory import FLOAT32


class AdamW(torch.optim.AdamW):
    """AdamW (Loshchilov and Hutter 2019). VTok trains pretrained models at 1e-5; the default suits tiny models.

    Args:
        groups: parameter groups; a group's own weight decay wins.
        lr: learning rate.
        betas: decay of the running means of gradient and squared gradient.
        eps: constant added to the root of the squared gradients.
        weight_decay: weight decay of matrices; biases and norms have none.
        fused: whether a step is one kernel, without temporary copies of the weights; it rounds differently.
    """

    def __init__(
        self,
        groups: Iterable[dict[str, Any]],
        *,
        lr: Rate = 1.5e-3,
        betas: Betas = (0.9, 0.98),
        eps: Positive = 1e-8,
        weight_decay: Rate = 0.01,
        fused: bool = False,
    ) -> None:
        # None leaves the choice of the kernel to torch.
        super().__init__(
            groups, lr=lr, betas=(betas[0], betas[1]), eps=eps, weight_decay=weight_decay, fused=fused or None
        )

    @staticmethod
    def state_bytes(shape: Sequence[int], *, hidden: bool, settings: Mapping[str, Any]) -> int:
        """Two float32 numbers for each weight."""
        return 2 * FLOAT32 * prod(shape)


class Adafactor(torch.optim.Adafactor):
    """Adafactor (Shazeer and Stern 2018): row and column means of the second moment, and no first moment.

    Args:
        groups: parameter groups; a group's own weight decay wins.
        lr: learning rate relative to a parameter's root mean square; the rate of a step is min(lr, 1 / sqrt(step)).
        beta2_decay: exponent of the second moment's decay, which averages over about step^-beta2_decay steps.
        eps: constant added to squared gradients (null: float32's epsilon), and lower bound of a parameter's root mean
            square.
        d: root mean square above which an update is clipped.
        weight_decay: weight decay of matrices; biases and norms have none.
    """

    def __init__(
        self,
        groups: Iterable[dict[str, Any]],
        *,
        lr: Rate = 1e-2,
        beta2_decay: Annotated[float, Le(0)] = -0.8,
        eps: tuple[Positive | None, Positive] = (None, 1e-3),
        d: Annotated[float, Ge(1)] = 1.0,
        weight_decay: Rate = 0.01,
    ) -> None:
        super().__init__(groups, lr=lr, beta2_decay=beta2_decay, eps=(eps[0], eps[1]), d=d, weight_decay=weight_decay)

    @staticmethod
    def state_bytes(shape: Sequence[int], *, hidden: bool, settings: Mapping[str, Any]) -> int:
        """A float32 number for each row and column of a matrix, and for each number of a vector."""
        numbers = prod(shape)
        return FLOAT32 * (numbers // shape[-1] + numbers // shape[-2] if len(shape) > 1 else numbers)


class Sgd(torch.optim.SGD):
    """SGD with Nesterov momentum: a baseline with a small state.

    Args:
        groups: parameter groups; a group's own weight decay wins.
        lr: learning rate.
        momentum: decay of the running sum of gradients; 0 needs nesterov=false.
        nesterov: whether Nesterov momentum is used.
        weight_decay: weight decay of matrices; biases and norms have none.
    """

    def __init__(
        self,
        groups: Iterable[dict[str, Any]],
        *,
        lr: Rate = 0.1,
        momentum: FractionBelowOne = 0.9,
        nesterov: bool = True,
        weight_decay: Rate = 0.0,
    ) -> None:
        super().__init__(groups, lr=lr, momentum=momentum, nesterov=nesterov, weight_decay=weight_decay)

    @staticmethod
    def state_bytes(shape: Sequence[int], *, hidden: bool, settings: Mapping[str, Any]) -> int:
        """A float32 number for each weight, if there is momentum."""
        return FLOAT32 * prod(shape) if settings["momentum"] else 0
