"""`conf/mllm`: the language model."""

from dataclasses import dataclass
from typing import Any

LLAVA_NEXT_8B = "llava-hf/llama3-llava-next-8b-hf"


@dataclass
class TinyLanguageModel:
    _target_: str = "vtok.mllm.TinyLanguageModel"
    width: int = 96
    layers: int = 2
    heads: int = 4
    context_length: int = 1024


@dataclass
class Lora:
    """The value of `lora` where it is not null; that it fits is told by `check_lora`, for OmegaConf types no null."""

    rank: int = 16
    alpha: float = 32.0
    dropout: float = 0.0
    target_modules: list[str] | None = None


@dataclass
class CausalLanguageModel:
    _target_: str = "vtok.mllm.CausalLanguageModel"
    weights: str | None = "HuggingFaceTB/SmolLM2-360M-Instruct"
    revision: str | None = None
    dtype: str = "float32"
    context_length: int | None = None
    video_token: str = "<video>"
    frozen: bool = False
    gradient_checkpointing: bool = False
    lora: Any = None


@dataclass
class LlavaNextLanguageModel:
    _target_: str = "vtok.mllm.LlavaNextLanguageModel"
    weights: str | None = LLAVA_NEXT_8B
    projector: bool = True
    revision: str | None = None
    dtype: str = "float32"
    context_length: int | None = None
    video_token: str = "<image>"
    frozen: bool = False
    gradient_checkpointing: bool = False
    lora: Any = None

    def projector_width(self) -> int | None:
        """Width of the tokens that its projector takes, where there is one and it is known: CLIP-L's features."""
        return 1024 if self.projector and self.weights == LLAVA_NEXT_8B else None

    def projector_depth(self) -> int | None:
        """The hidden state of its vision tower, CLIP-L, that its projector was trained on (its layer -2)."""
        return 23 if self.projector and self.weights == LLAVA_NEXT_8B else None
