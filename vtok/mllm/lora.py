"""Low-rank adapters (LoRA, Hu et al. 2021, arXiv 2106.09685), through peft."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from vtok.common.errors import UserError
from vtok.common.setting_types import Count, FractionBelowOne, Positive

ADAPTER = "default"


@dataclass(frozen=True)
class Lora:
    """Settings of the adapters: alpha / rank * B A is added to each chosen layer of a frozen model.

    Attributes:
        rank: rank of the adapters' matrices.
        alpha: numerator of alpha / rank, by which the adapters' output is scaled.
        dropout: dropout rate of an adapter's inputs in training, in [0, 1).
        target_modules: names, or ends of names, of the linear layers that get adapters; None: all but the head.
    """

    rank: Count = 16
    alpha: Positive = 32.0
    dropout: FractionBelowOne = 0.0
    target_modules: Sequence[str] | None = None

    @classmethod
    def of(cls, settings: "Lora | Mapping[str, Any] | None") -> "Lora | None":
        """The settings from a mapping, as a configuration has them."""
        if settings is None or isinstance(settings, Lora):
            return settings
        return cls(**{str(key): value for key, value in settings.items()})


def add_adapters(model: PreTrainedModel, lora: Lora) -> list[nn.Module]:
    """Add adapters to the model, in place. Only they require a gradient.

    They are float32 even in a bfloat16 model, in which an optimiser's small steps would be lost.

    Returns:
        The dropout layers of the adapters.

    Raises:
        UserError: peft is not installed, or the model does not have the target layers.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise UserError(
            "mllm.lora needs peft, which is not installed. Install it: pip install 'vtok[lora]'."
        ) from error
    targets = "all-linear" if lora.target_modules is None else list(lora.target_modules)
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,  # type: ignore[arg-type]  # peft types it as an integer, and also takes a float
        lora_dropout=lora.dropout,
        target_modules=targets,
        bias="none",
    )
    try:
        inject_adapter_in_model(config, model, adapter_name=ADAPTER)
    except ValueError as error:
        linear = {name.rpartition(".")[2] for name, one in model.named_modules() if isinstance(one, nn.Linear)}
        raise UserError(
            f"mllm.lora.target_modules={targets} are not linear layers of this model. "
            f"Use {', '.join(sorted(linear))}, or null for all but the head."
        ) from error
    model.requires_grad_(False)
    for name, parameter in model.named_parameters():
        if ".lora_" in name:
            parameter.data = parameter.data.to(torch.float32)
            parameter.requires_grad_(True)
    return [one for name, one in model.named_modules() if ".lora_dropout." in name]
