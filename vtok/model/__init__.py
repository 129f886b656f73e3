"""The model (tokeniser, language model, visual head and decoder), its losses and its batches."""

from typing import TYPE_CHECKING

from vtok.common.lazy import lazy_exports

if TYPE_CHECKING:
    from vtok.model.objective import Objective
    from vtok.model.video_language_model import VideoLanguageModel

__all__ = ["Objective", "VideoLanguageModel"]

__getattr__, __dir__ = lazy_exports(__name__)
