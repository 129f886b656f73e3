"""AdamW with 8-bit state, a quarter of the usual size, through bitsandbytes."""

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

    The moments of parameters with less than 4096 numbers are float32. The step is that of bitsandbytes on every device.
    Only the state dict is VTok's: plain tensors of codes, scales and the map from codes to numbers.

    Args:
        groups: parameter groups; keys that AdamW does not know are ignored.
        lr: learning rate.
        betas: decay of the running means of gradient and squared gradient.
        eps: constant added to the root of the squared gradients.
        weight_decay: weight decay of groups that do not set their own.

    Raises:
        UserError: bitsandbytes is not installed.
    """

    # The package that must be installed, the extra of vtok that installs it, and whether FSDP2 can shard the state.
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
                "optimiser=adamw8bit needs bitsandbytes, which is not installed. Install it: pip install 'vtok[bnb]'."
            ) from error
        self._steps = Steps(list(groups), lr=lr, betas=(betas[0], betas[1]), eps=eps, weight_decay=weight_decay)
        super().__init__(self._steps.param_groups, {})
        # A step of bitsandbytes does this to weights and not to their codes, which it reads in the order of memory.
        # Codes of a channels-last convolution would be mixed up by saving and loading.
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.data = parameter.data.contiguous()

    @staticmethod
    def state_bytes(shape: Sequence[int], *, hidden: bool, settings: Mapping[str, Any]) -> int:
        """Two 8-bit codes for each weight, with a scale for each 256; two float32 numbers in small parameters."""
        numbers = prod(shape)
        return 2 * FLOAT32 * numbers if numbers < 4096 else 2 * (numbers + FLOAT32 * ceil(numbers / 256))

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step of bitsandbytes."""
        # Both optimisers must have the same state and groups, which may have been replaced since the last step.
        self._steps.state, self._steps.param_groups = self.state, self.param_groups
        return self._steps.step(closure)

    def state_dict(self) -> dict[str, Any]:
        """The state by parameter and entry, in tensors that do not share memory."""
        saved = super().state_dict()
        # All parameters share one map tensor, which safetensors refuses.
        saved["state"] = {
            index: {name: value.clone() if name in MAPS else value for name, value in entries.items()}
            for index, entries in saved["state"].items()
        }
        return saved

    @torch.no_grad()
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load the result of `state_dict`. torch's own method would convert the codes to float32."""
        super().load_state_dict({**state_dict, "state": {}})
        parameters = [parameter for group in self.param_groups for parameter in group["params"]]
        for index, entries in state_dict["state"].items():
            device = parameters[index].device
            self.state[parameters[index]] = {
                name: int(value) if name == "step" else value.to(device) for name, value in entries.items()
            }
