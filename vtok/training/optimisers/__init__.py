"""Optimisers with VTok's defaults and bounds, and the memory of their state."""

from typing import TYPE_CHECKING

from vtok.common.lazy import lazy_exports

if TYPE_CHECKING:
    from vtok.training.optimisers.adamw8bit import AdamW8bit
    from vtok.training.optimisers.muon import MuonAdamW
    from vtok.training.optimisers.torch_optimisers import Adafactor, AdamW, Sgd

__all__ = ["Adafactor", "AdamW", "AdamW8bit", "MuonAdamW", "Sgd"]

__getattr__, __dir__ = lazy_exports(__name__)
