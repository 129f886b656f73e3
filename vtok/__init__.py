"""VTok: compare ways of turning a video into tokens for a multimodal language model."""

__version__ = "0.1.0"
