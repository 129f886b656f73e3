"""`conf/mllm`: the language model."""

from dataclasses import dataclass


@dataclass
class TinyLanguageModel:
    _target_: str = "vtok.mllm.TinyLanguageModel"
    width: int = 96
    layers: int = 2
    heads: int = 4
    context_length: int = 1024
