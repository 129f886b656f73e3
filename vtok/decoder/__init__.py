"""Hidden states to video."""

from vtok.decoder.base import Decoder
from vtok.decoder.none import NoDecoder
from vtok.decoder.tiny import TinyDecoder

__all__ = ["Decoder", "NoDecoder", "TinyDecoder"]
