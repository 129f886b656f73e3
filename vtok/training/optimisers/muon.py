"""Muon for the hidden matrices and AdamW for all other parameters, as one optimiser."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.optim import AdamW, Optimizer

from vtok.common.distributed import full
from vtok.common.setting_types import Betas, FractionBelowOne, Positive, Rate
from vtok.model.memory import FLOAT32
from vtok.training.sharded_tensors import shard

# Coefficients and number of the iterations (Jordan et al. 2024).
NEWTON_SCHULZ, NEWTON_SCHULZ_STEPS = (3.4445, -4.7750, 2.0315), 5
MATRIX = 2
HIDDEN, MOMENTUM = "hidden", "momentum_buffer"


class MuonAdamW(Optimizer):
    """Muon (Jordan et al. 2024) for groups marked `hidden`, AdamW for other groups.

    Muon makes the update of a matrix orthogonal, so that all its directions are learnt at the same speed. It is meant
    for the matrices of linear layers and the kernels of convolutions, not for embeddings, positions, queries, output
    layers, biases and norms.

    Args:
        groups: parameter groups; a group with `"hidden": True` has only matrices and kernels.
        lr: learning rate of AdamW.
        hidden_lr: learning rate of Muon, whose update is scaled to the root mean square of AdamW's (Liu et al. 2025).
        momentum: momentum of Muon.
        betas: decay of AdamW's running means of gradient and squared gradient.
        eps: constant added to the root of AdamW's squared gradients.
        weight_decay: weight decay of groups that do not set their own, for both.
    """

    def __init__(
        self,
        groups: Iterable[dict[str, Any]],
        *,
        lr: Rate = 1.5e-3,
        hidden_lr: Rate = 2e-3,
        momentum: FractionBelowOne = 0.95,
        betas: Betas = (0.9, 0.98),
        eps: Positive = 1e-8,
        weight_decay: Rate = 0.2,
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
        """One float32 number for each weight of Muon, two for each weight of AdamW."""
        return (1 if hidden else 2) * FLOAT32 * prod(shape)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step of both."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for hidden, part in self._parts:
            # The state and the groups may have been replaced since the last step. Each part steps its own groups.
            part.state = self.state
            part.param_groups = [group for group in self.param_groups if bool(group.get(HIDDEN)) == hidden]
            part.step()
        return loss


class BatchedMuon(Optimizer):
    """torch's Muon, with kernels of convolutions as well, and several matrices at a time, in float32 on most CPUs.

    torch takes matrices alone, one at a time, in bf16, which many CPUs emulate. Matrices of the same shape are
    orthogonalised together here; a kernel (C, c, h, w) is a matrix (C, c * h * w). Sharded matrices are gathered one
    at a time, and each process orthogonalises all of them.
    """

    def __init__(self, groups: Iterable[dict[str, Any]], *, lr: float, momentum: float, weight_decay: float) -> None:
        super().__init__(groups, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        vectors = [one.shape for group in self.param_groups for one in group["params"] if one.ndim < MATRIX]
        if vectors:
            raise ValueError(f"Muon takes matrices and kernels, not a parameter of shape {tuple(vectors[0])}.")

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step; `closure` is not used."""
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[Tensor]] = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is not None:
                    by_shape[parameter.shape].append(parameter)
            for shape, parameters in by_shape.items():
                ahead = [self._momentum(parameter, group["momentum"]) for parameter in parameters]
                if isinstance(ahead[0], DTensor):
                    # Full matrices are needed. One at a time, because all of them may not fit the memory.
                    whole = (orthogonal(full(one).flatten(1).unsqueeze(0)).reshape(shape) for one in ahead)
                    updates = [shard(update, like=one) for update, one in zip(whole, ahead, strict=True)]
                else:
                    updates = list(orthogonal(torch.stack(ahead).flatten(2)).unflatten(2, shape[1:]))
                # The root mean square of AdamW's updates (Liu et al. 2025).
                rate = 0.2 * max(shape[0], prod(shape[1:])) ** 0.5 * group["lr"]
                torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
                torch._foreach_add_(parameters, [one.to(parameters[0].dtype) for one in updates], alpha=-rate)
        return None

    def _momentum(self, parameter: Tensor, momentum: float) -> Tensor:
        """The gradient with Nesterov momentum."""
        assert parameter.grad is not None
        state = self.state[parameter]
        if MOMENTUM not in state:
            state[MOMENTUM] = torch.zeros_like(parameter)
        state[MOMENTUM].lerp_(parameter.grad, 1 - momentum)
        return parameter.grad.lerp(state[MOMENTUM], momentum)


def orthogonal(matrices: Tensor) -> Tensor:
    """Matrices (N, m, n) with singular values near 1, by the quintic Newton-Schulz iteration of torch's Muon."""
    a, b, c = NEWTON_SCHULZ
    wide = matrices if matrices.shape[1] <= matrices.shape[2] else matrices.mT
    x = wide.bfloat16() if wide.device.type != "cpu" or cpu_multiplies_bf16() else wide.float()
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    for _ in range(NEWTON_SCHULZ_STEPS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x if wide is matrices else x.mT


@cache
def cpu_multiplies_bf16() -> bool:
    """Whether this CPU has instructions for products in bf16. Emulated, they are slower than those in float32."""
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name) for name in ("amx_bf16", "avx512_bf16"))
