"""Hidden states to video."""

from typing import TYPE_CHECKING

from vtok.common.lazy import lazy_exports

if TYPE_CHECKING:
    from vtok.decoder.base import Decoder
    from vtok.decoder.hunyuan_video import HunyuanVideoDecoder
    from vtok.decoder.none import NoDecoder
    from vtok.decoder.offload import place
    from vtok.decoder.tiny import TinyDecoder
    from vtok.decoder.wan import WanDecoder

__all__ = ["Decoder", "HunyuanVideoDecoder", "NoDecoder", "TinyDecoder", "WanDecoder", "place"]

__getattr__, __dir__ = lazy_exports(__name__)
