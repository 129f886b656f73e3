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
    """What is added to a frozen model and trained: to each chosen layer alpha / rank * B A, B and A of the rank.

    Attributes:
        rank: rank of the adapters' matrices.
        alpha: the adapters' output is scaled by alpha / rank.
        dropout: share of an adapter's inputs that is left out while training, in [0, 1).
        target_modules: names, or ends of names, of the linear layers that get adapters; None: all but the head.
    """

    rank: Count = 16
    alpha: Positive = 32.0
    dropout: FractionBelowOne = 0.0
    target_modules: Sequence[str] | None = None

    @classmethod
    def of(cls, settings: "Lora | Mapping[str, Any] | None") -> "Lora | None":
        """Settings as a configuration has them."""
        if settings is None or isinstance(settings, Lora):
            return settings
        return cls(**{str(key): value for key, value in settings.items()})


def add_adapters(model: PreTrainedModel, lora: Lora) -> list[nn.Module]:
    """Put adapters into the model, in place; they alone require a gradient.

    They are float32 whatever the model is: an optimiser's small steps are lost in bfloat16.

    Returns:
        The adapters' dropouts.

    Raises:
        UserError: peft is not installed, or the model has no such layers.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise UserError("mllm.lora: it needs peft, which is not installed: pip install 'vtok[lora]'") from error
    targets = "all-linear" if lora.target_modules is None else list(lora.target_modules)
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,  # type: ignore[arg-type]  # a factor; nothing in peft needs it whole
        lora_dropout=lora.dropout,
        target_modules=targets,
        bias="none",
    )
    try:
        inject_adapter_in_model(config, model, adapter_name=ADAPTER)
    except ValueError as error:
        linear = {name.rpartition(".")[2] for name, one in model.named_modules() if isinstance(one, nn.Linear)}
        raise UserError(
            f"mllm.lora.target_modules={targets}: no adapter fits there; this model's linear layers are "
            f"{', '.join(sorted(linear))}, or say null for all but the head."
        ) from error
    model.requires_grad_(False)
    for name, parameter in model.named_parameters():
        if ".lora_" in name:
            parameter.data = parameter.data.to(torch.float32)
            parameter.requires_grad_(True)
    return [one for name, one in model.named_modules() if ".lora_dropout." in name]
