"""AdamW with a quarter of its state, through bitsandbytes."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from math import ceil, prod
from typing import Any

import torch
from torch.optim import Optimizer

from vtok.common.errors import UserError
from vtok.common.setting_types import Betas, Positive, Rate
from vtok.model.memory import FLOAT32

MAPS = ("qmap1", "qmap2")


class AdamW8bit(Optimizer):
    """AdamW with moments of 8 bits, quantised in blocks of 256 numbers (Dettmers et al. 2022, arXiv 2110.02861).

    The moments of parameters with less than 4096 numbers are float32. The step is bitsandbytes' on every device; what
    is its own here is the state dict, which is flat and of plain tensors: codes, scales and the map from codes to
    numbers.

    Args:
        groups: parameter groups; keys that AdamW does not know are left alone.
        lr: learning rate.
        betas: decay of the running means of gradient and squared gradient.
        eps: added to the root of the squared gradients.
        weight_decay: weight decay of matrices; a group's own wins.

    Raises:
        UserError: bitsandbytes is not installed.
    """

    # What has to be installed, the extra that brings it, and whether FSDP2 may shard its state.
    requires = "bitsandbytes"
    extra = "bnb"
    shardable = False

    def __init__(
        self,
        groups: Iterable[dict[str, Any]],
        *,
        lr: Rate = 1.5e-3,
        betas: Betas = (0.9, 0.98),
        eps: Positive = 1e-8,
        weight_decay: Rate = 0.01,
    ) -> None:
        try:
            from bitsandbytes.optim import AdamW8bit as Steps
        except ImportError as error:
            raise UserError(
                "optimiser=adamw8bit: it needs bitsandbytes, which is not installed: pip install 'vtok[bnb]'."
            ) from error
        self._steps = Steps(list(groups), lr=lr, betas=(betas[0], betas[1]), eps=eps, weight_decay=weight_decay)
        super().__init__(self._steps.param_groups, {})

    @staticmethod
    def state_bytes(shape: Sequence[int], *, hidden: bool, settings: Mapping[str, Any]) -> int:
        """Two codes of 8 bits, and for each 256 of them a scale; two float32 numbers where there are few."""
        numbers = prod(shape)
        return 2 * FLOAT32 * numbers if numbers < 4096 else 2 * (numbers + FLOAT32 * ceil(numbers / 256))

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step of bitsandbytes' own."""
        # One state and one list of groups, either of which may have been replaced since.
        self._steps.state, self._steps.param_groups = self.state, self.param_groups
        return self._steps.step(closure)

    def state_dict(self) -> dict[str, Any]:
        """The state by parameter and entry; no two tensors of it share their memory."""
        saved = super().state_dict()
        # The map is one tensor for all parameters, which a safetensors file does not take.
        saved["state"] = {
            index: {name: value.clone() if name in MAPS else value for name, value in entries.items()}
            for index, entries in saved["state"].items()
        }
        return saved

    @torch.no_grad()
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned; torch's own would make the codes float32."""
        super().load_state_dict({**state_dict, "state": {}})
        parameters = [parameter for group in self.param_groups for parameter in group["params"]]
        for index, entries in state_dict["state"].items():
            device = parameters[index].device
            self.state[parameters[index]] = {
                name: int(value) if name == "step" else value.to(device) for name, value in entries.items()
            }
