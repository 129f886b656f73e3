"""Video tokens and text to text: the multimodal language models."""

from vtok.mllm.base import LanguageModel
from vtok.mllm.chat import IGNORED, ChatTokeniser, EncodedChat
from vtok.mllm.projector import VisualProjector
from vtok.mllm.tiny import TinyLanguageModel

__all__ = ["IGNORED", "ChatTokeniser", "EncodedChat", "LanguageModel", "TinyLanguageModel", "VisualProjector"]
