"""`conf/decoder`: hidden states to video."""

from dataclasses import dataclass


@dataclass
class NoDecoder:
    _target_: str = "vtok.decoder.NoDecoder"
    _partial_: bool = True


@dataclass
class TinyDecoder:
    _target_: str = "vtok.decoder.TinyDecoder"
    _partial_: bool = True
    num_frames: int = 8
    size: int = 32
    patch: int = 8
    heads: int = 4
    head_dim: int = 24
    double_layers: int = 2
    single_layers: int = 2
    sketch_channels: int = 32
    shift: float = 7.0
    condition_dropout: float = 0.1


@dataclass
class HunyuanVideoDecoder:
    _target_: str = "vtok.decoder.HunyuanVideoDecoder"
    _partial_: bool = True
    weights: str | None = "hunyuanvideo-community/HunyuanVideo"
    revision: str | None = None
    dtype: str = "bfloat16"
    vae_dtype: str = "float32"
    num_frames: int = 17
    size: int = 336
    frozen: bool = True
    gradient_checkpointing: bool = True
    vae_tiling: bool = False
    vae_slicing: bool = True
    offload: bool = False
    condition_layer: int = -3
    pooled: str = "zeros"
    embedded_guidance: float = 6.0
    shift: float | None = None
    condition_dropout: float = 0.1


@dataclass
class WanDecoder:
    _target_: str = "vtok.decoder.WanDecoder"
    _partial_: bool = True
    weights: str | None = "Wan-AI/Wan2.2-TI2V-5B-Diffusers"
    revision: str | None = None
    dtype: str = "bfloat16"
    vae_dtype: str = "float32"
    num_frames: int = 17
    size: int = 320
    frozen: bool = True
    gradient_checkpointing: bool = True
    vae_tiling: bool = False
    vae_slicing: bool = True
    offload: bool = False
    mode: str = "replace"
    stock_text: str | None = None
    text_length: int = 512
    adapter_width: int = 2048
    shift: float | None = None
    condition_dropout: float = 0.1
