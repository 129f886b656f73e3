"""The multimodal language models: video tokens and text in, text out."""

from typing import TYPE_CHECKING

from vtok.common.lazy import lazy_exports

if TYPE_CHECKING:
    from vtok.mllm.base import AnswerScores, LanguageModel
    from vtok.mllm.causal_lm import CausalLanguageModel
    from vtok.mllm.chat import IGNORED, ChatTokeniser, EncodedChat
    from vtok.mllm.llava_next import LlavaNextLanguageModel
    from vtok.mllm.lora import Lora
    from vtok.mllm.projector import VisualProjector
    from vtok.mllm.text_length import LengthCheck
    from vtok.mllm.tiny import TinyLanguageModel

__all__ = [
    "IGNORED",
    "AnswerScores",
    "CausalLanguageModel",
    "ChatTokeniser",
    "EncodedChat",
    "LanguageModel",
    "LengthCheck",
    "LlavaNextLanguageModel",
    "Lora",
    "TinyLanguageModel",
    "VisualProjector",
]

__getattr__, __dir__ = lazy_exports(__name__)
