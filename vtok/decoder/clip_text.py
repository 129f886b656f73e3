"""CLIP's text encoder (Radford et al. 2021), the second text encoder of HunyuanVideo."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from vtok.common.errors import UserError
from vtok.common.pretrained import Place, load, only_shapes, refuse_missing

FOLDERS = ("text_encoder_2", "tokenizer_2")


class ClipText(nn.Module):
    """One vector for each caption, as in diffusers' HunyuanVideoPipeline: the state at the end of the text.

    Args:
        model: the text encoder; it is frozen and stays in eval mode.
        tokenizer: its tokenizer; None: captions cannot be encoded.
    """

    def __init__(self, model: CLIPTextModel, tokenizer: Any) -> None:
        super().__init__()
        self.model, self.tokenizer = model, tokenizer
        self.width: int = model.config.hidden_size
        self.requires_grad_(False)
        self.train(False)

    def train(self, mode: bool = True) -> "ClipText":
        """A frozen encoder stays in eval mode."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, captions: Sequence[str]) -> Tensor:
        """B texts -> (B, width); texts are truncated to the encoder's length."""
        places = self.model.config.max_position_embeddings
        ids: Tensor = self.tokenizer(
            list(captions), padding="max_length", max_length=places, truncation=True, return_tensors="pt"
        ).input_ids
        device = self.model.device
        # It runs in the precision it was loaded in, whatever the rest is trained in.
        with torch.autocast(device.type, enabled=False):
            return self.model(ids.to(device)).pooler_output


def load_clip_text(weights: str | Path | None, *, revision: str | None) -> ClipText:
    """The text encoder of a published video model; without weights, CLIP-L's architecture on the meta device.

    Raises:
        UserError: there is no such encoder.
    """
    instead = "Set decoder.pooled=zeros, or decoder.weights to a folder with text_encoder_2/ and tokenizer_2/."
    if weights is None:
        if not only_shapes():
            raise UserError(
                f"decoder.weights=null: random weights have no vocabulary for decoder.pooled=clip_text. {instead}"
            )
        return ClipText(CLIPTextModel(clip_l()), None)
    return load(
        str(weights),
        read_clip_text,
        key="decoder.weights",
        kind="CLIP text encoder for decoder.pooled=clip_text",
        way_out=instead,
        revision=revision,
        probe=f"{FOLDERS[0]}/config.json",
    )


def read_clip_text(place: Place) -> ClipText:
    """Load encoder and tokenizer with transformers, in float32.

    Raises:
        ValueError: the tokenizer is missing or belongs to another model; transformers makes an empty one in place of a
            missing one.
    """
    encoder, tokenizer = FOLDERS
    where: dict[str, Any] = dict(revision=place.revision, local_files_only=place.offline)
    loaded: Any = CLIPTextModel.from_pretrained(
        place.name, subfolder=encoder, dtype=torch.float32, output_loading_info=True, **where
    )
    model, report = loaded
    refuse_missing(report["missing_keys"], "CLIP text encoder")
    words = CLIPTokenizer.from_pretrained(place.name, subfolder=tokenizer, **where)
    if len(words) != model.config.vocab_size:
        raise ValueError(f"{tokenizer}/ has {len(words)} tokens, {encoder}/ has {model.config.vocab_size}")
    return ClipText(model, words)


def clip_l() -> CLIPTextConfig:
    """The configuration of openai/clip-vit-large-patch14, 123 million parameters."""
    return CLIPTextConfig(hidden_size=768, intermediate_size=3072, num_attention_heads=12, projection_dim=768)
