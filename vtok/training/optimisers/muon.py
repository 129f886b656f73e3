"""Muon for the hidden matrices, AdamW for everything else, behind the interface of one optimiser."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.optim import AdamW, Muon, Optimizer

from vtok.common.distributed import full
from vtok.common.errors import UserError
from vtok.common.setting_types import Betas, FractionBelowOne, Positive, Rate
from vtok.model.memory import FLOAT32
from vtok.training.sharded_tensors import cut

HIDDEN, MOMENTUM = "hidden", "momentum_buffer"


class MuonAdamW(Optimizer):
    """Muon (Jordan et al. 2024) where groups are marked `hidden`, AdamW where they are not.

    Muon makes the update of a matrix orthogonal, so that all of its directions are learnt at one speed; it is meant for
    the matrices of linear layers, not for embeddings, positions, queries, output layers, biases and norms.

    Args:
        groups: parameter groups; one with `"hidden": True` holds matrices alone.
        lr: learning rate of AdamW.
        hidden_lr: learning rate of Muon, whose update is scaled to the root mean square of AdamW's (Liu et al. 2025).
        momentum: momentum of Muon.
        betas: decay of AdamW's running means of gradient and squared gradient.
        eps: added to the root of AdamW's squared gradients.
        weight_decay: weight decay of matrices, for both; a group's own wins.
    """

    def __init__(
        self,
        groups: Iterable[dict[str, Any]],
        *,
        lr: Rate = 1.5e-3,
        hidden_lr: Rate = 4e-3,
        momentum: FractionBelowOne = 0.95,
        betas: Betas = (0.9, 0.98),
        eps: Positive = 1e-8,
        weight_decay: Rate = 0.01,
    ) -> None:
        own = [dict(group) for group in groups]
        hidden, others = ([group for group in own if bool(group.get(HIDDEN)) == kind] for kind in (True, False))
        self._parts: list[tuple[bool, Optimizer]] = []
        if hidden:
            self._parts.append((True, BatchedMuon(hidden, lr=hidden_lr, momentum=momentum, weight_decay=weight_decay)))
        if others:
            adamw = AdamW(others, lr=lr, betas=(betas[0], betas[1]), eps=eps, weight_decay=weight_decay)
            self._parts.append((False, adamw))
        super().__init__([group for _, part in self._parts for group in part.param_groups], {})

    @staticmethod
    def state_bytes(shape: Sequence[int], *, hidden: bool, settings: Mapping[str, Any]) -> int:
        """Muon's one float32 number a weight where it is Muon's; AdamW's two elsewhere."""
        return (1 if hidden else 2) * FLOAT32 * prod(shape)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned.

        Raises:
            UserError: what is Muon's in it is AdamW's here, or the other way round.
        """
        super().load_state_dict(state_dict)
        for group in self.param_groups:
            states = (self.state[parameter] for parameter in group["params"] if parameter in self.state)
            if any((MOMENTUM in state) != bool(group.get(HIDDEN)) for state in states):
                raise UserError(
                    "optimiser=muon: the checkpoint was saved by a version that gave Muon other matrices, and cannot "
                    "be resumed. Begin a new run: resume=null."
                )

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step of both."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for hidden, part in self._parts:
            # One state and one list of groups, which may have been replaced since: each part steps its own of them.
            part.state = self.state
            part.param_groups = [group for group in self.param_groups if bool(group.get(HIDDEN)) == hidden]
            part.step()
        return loss


class BatchedMuon(Muon):
    """torch's Muon, with matrices of one shape orthogonalised together and, on a CPU, in float32.

    torch does it matrix by matrix in bf16, which a CPU without bf16 units emulates. Matrices that are cut are put
    together one by one, and every process orthogonalises all of them.
    """

    def __init__(self, groups: Iterable[dict[str, Any]], *, lr: float, momentum: float, weight_decay: float) -> None:
        super().__init__(groups, lr=lr, momentum=momentum, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw")

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step; takes no closure."""
        for group in self.param_groups:
            alike: dict[torch.Size, list[Tensor]] = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is not None:
                    alike[parameter.shape].append(parameter)
            for shape, parameters in alike.items():
                ahead = [self._momentum(parameter, group["momentum"]) for parameter in parameters]
                made_orthogonal = partial(orthogonal, coefficients=group["ns_coefficients"], steps=group["ns_steps"])
                if isinstance(ahead[0], DTensor):
                    # A whole matrix is needed; one at a time, for no process has room for all.
                    updates = [cut(made_orthogonal(full(one).unsqueeze(0))[0], like=one) for one in ahead]
                else:
                    updates = list(made_orthogonal(torch.stack(ahead)))
                rate = 0.2 * max(shape) ** 0.5 * group["lr"]
                torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
                torch._foreach_add_(parameters, [one.to(parameters[0].dtype) for one in updates], alpha=-rate)
        return None

    def _momentum(self, parameter: Tensor, momentum: float) -> Tensor:
        """Nesterov's look ahead."""
        assert parameter.grad is not None
        state = self.state[parameter]
        if MOMENTUM not in state:
            state[MOMENTUM] = torch.zeros_like(parameter)
        state[MOMENTUM].lerp_(parameter.grad, 1 - momentum)
        return parameter.grad.lerp(state[MOMENTUM], momentum)


def orthogonal(matrices: Tensor, *, coefficients: Sequence[float], steps: int) -> Tensor:
    """Matrices (N, m, n) with singular values near 1, by the quintic Newton-Schulz iteration of torch's Muon."""
    a, b, c = coefficients
    wide = matrices if matrices.shape[1] <= matrices.shape[2] else matrices.mT
    x = wide.float() if wide.device.type == "cpu" else wide.bfloat16()
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x if wide is matrices else x.mT
