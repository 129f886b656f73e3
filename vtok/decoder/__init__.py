"""Hidden states to video."""

from vtok.decoder.none import NoDecoder

__all__ = ["NoDecoder"]
