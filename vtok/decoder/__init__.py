"""Hidden states to video."""

from vtok.decoder.base import Decoder
from vtok.decoder.hunyuan_video import HunyuanVideoDecoder
from vtok.decoder.none import NoDecoder
from vtok.decoder.offload import place
from vtok.decoder.tiny import TinyDecoder
from vtok.decoder.wan import WanDecoder

__all__ = ["Decoder", "HunyuanVideoDecoder", "NoDecoder", "TinyDecoder", "WanDecoder", "place"]
