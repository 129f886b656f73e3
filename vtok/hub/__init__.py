"""Exports trained tokenisers and models to folders that others load, on disk or on the Hugging Face hub."""

from typing import TYPE_CHECKING

from vtok.common.lazy import lazy_exports

if TYPE_CHECKING:
    from vtok.hub.folder import from_pretrained, save_pretrained
    from vtok.hub.remote import push_to_hub

__all__ = ["from_pretrained", "push_to_hub", "save_pretrained"]

__getattr__, __dir__ = lazy_exports(__name__)
