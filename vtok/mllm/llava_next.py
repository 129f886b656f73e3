"""The language model of LLaVA-NeXT (Liu et al. 2024), which VTok uses: LLaMA-3-8B trained on images and text."""

import logging
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    LlamaConfig,
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from vtok.common.errors import UserError
from vtok.common.pretrained import Place, dtype_of, load, only_shapes, read_config, read_model, refuse_missing
from vtok.common.setting_types import Count, Dtype
from vtok.mllm.base import LanguageModel
from vtok.mllm.chat import ChatTokeniser
from vtok.mllm.lora import Lora
from vtok.mllm.pretrained import (
    add_video_token,
    check_logits,
    read_tokenizer,
    replace_padding_without_embedding,
    without_dropout,
)
from vtok.mllm.projector import VisualProjector
from vtok.mllm.tiny import byte_level_tokenizer

log = logging.getLogger(__name__)

WEIGHTS = "llava-hf/llama3-llava-next-8b-hf"
KIND = "LLaVA-NeXT model"
WAY_OUT = (
    "Set mllm.weights=PATH to a local folder that holds one with its tokenizer (config.json, model.safetensors and "
    "tokenizer.json as `save_pretrained` writes them), or mllm.weights=null for random weights."
)


@dataclass(frozen=True)
class LlavaParts:
    """A LLaVA-NeXT without its vision tower.

    Attributes:
        model: language model with its head.
        projector: weights of the projector, by the names in `VisualProjector`.
        depths: depths of the vision tower's hidden states that the projector was trained on, see `Backbone.depth`.
        tokenizer: tokenizer with the chat template.
    """

    model: PreTrainedModel
    projector: dict[str, Tensor]
    depths: list[int]
    tokenizer: PreTrainedTokenizerBase


class LlavaNextLanguageModel(LanguageModel):
    """The language model of a LLaVA-NeXT. Its projector can initialise phi_vis; its vision tower is dropped.

    Args:
        weights: hub id or local folder of a LLaVA-NeXT. A hub id is looked up in the local cache first. None: a
            LLaMA-3-8B with random weights and a byte-level vocabulary, to plan with (also on the meta device).
        projector: whether phi_vis starts from the model's projector; the video tokens must then be as wide as the
            features of its vision tower (1024 for CLIP-L), and reach phi_vis as they are, because the projector was
            trained on them. False: phi_vis starts at random and gets standardised tokens.
        revision: branch, tag or commit on the hub.
        dtype: number format of the weights. Weights that are trained must be float32.
        video_token: text that stands for one video token; added to the vocabulary if it is missing.
        frozen: whether none of its weights are trained; gradients still reach the video tokens.
        gradient_checkpointing: recompute activations in the backward pass: less memory, more time.
        lora: adapters to train instead of the weights: `Lora` or a mapping of its attributes.

    Raises:
        UserError: the model cannot be loaded or is not a LLaVA-NeXT, or an argument is out of range.
    """

    # For published weights: the width of the projector's input features, and their `Backbone.depth`.
    published_projectors = {WEIGHTS: (1024, 23)}  # noqa: RUF012 - read from the source

    def __init__(
        self,
        weights: str | Path | None = WEIGHTS,
        *,
        projector: bool = True,
        revision: str | None = None,
        dtype: Dtype = "float32",
        context_length: Count | None = None,
        video_token: str = "<image>",
        frozen: bool = False,
        gradient_checkpointing: bool = False,
        lora: Lora | None = None,
        encode_places: bool = False,
    ) -> None:
        adapters = Lora.of(lora)
        if weights is None:
            parts = random_parts(dtype_of(dtype, key="mllm.dtype"))
        else:
            parts = load(
                str(weights),
                partial(read_parts, dtype=dtype_of(dtype, key="mllm.dtype"), dropout=not frozen and adapters is None),
                key="mllm.weights",
                kind=f"{KIND} with its tokenizer",
                way_out=WAY_OUT,
                revision=revision,
            )
        add_video_token(parts.tokenizer, video_token)
        replace_padding_without_embedding(parts.tokenizer, parts.model)
        super().__init__(
            parts.model,
            ChatTokeniser(parts.tokenizer, video_token=video_token),
            context_length=context_length,
            frozen=frozen,
            gradient_checkpointing=gradient_checkpointing,
            lora=adapters,
            standardise_video=not projector,
            encode_places=encode_places,
        )
        # A plain dictionary, so that they are not weights of this module.
        self._projector, self._depths = parts.projector if projector else {}, parts.depths
        if weights is not None:
            check_logits(self, str(weights))

    def initialise_projector(self, projector: VisualProjector, *, depth: int | None) -> None:
        """Load the weights of LLaVA-NeXT's projector into phi_vis. This works once, because they are dropped after it.

        Raises:
            UserError: the projector takes features of another width than the video tokens', or of another layer.
        """
        if not self._projector:
            return
        there, here = self._projector["0.weight"].shape[1], projector.state_dict()["0.weight"].shape[1]
        if there != here:
            raise UserError(
                f"mllm.projector=true: this model's projector takes tokens of width {there}, and the video tokens have "
                f"width {here}. Use a backbone of {there} channels (backbone=clip), tokeniser.token_dim={there} or "
                "mllm.projector=false."
            )
        if depth is not None and [depth] != self._depths:
            trained = " and ".join(map(str, self._depths))
            raise UserError(
                f"mllm.projector=true: this model's projector was trained on hidden states {trained} of its vision "
                f"tower, and the backbone gives hidden state {depth}. Set backbone.layer={self._depths[0]} or "
                "mllm.projector=false."
            )
        projector.load_state_dict(self._projector)
        self._projector = {}


def random_parts(dtype: torch.dtype) -> LlavaParts:
    """The architecture of llava-hf/llama3-llava-next-8b-hf without its vision tower, with random weights."""
    log.warning("mllm.weights=null: LLaMA-3-8B has RANDOM weights and a vocabulary of bytes, nothing is pretrained.")
    config = LlamaConfig(
        vocab_size=128_320,
        hidden_size=4096,
        intermediate_size=14_336,
        num_hidden_layers=32,
        num_attention_heads=32,
        num_key_value_heads=8,
        max_position_embeddings=8192,
        rope_parameters={"rope_type": "default", "rope_theta": 500_000.0},
        rms_norm_eps=1e-5,
        tie_word_embeddings=False,
    )
    model: Any = AutoModelForCausalLM.from_config(config, dtype=dtype)
    return LlavaParts(model=model, projector={}, depths=[], tokenizer=byte_level_tokenizer())


def read_parts(place: Place, *, dtype: torch.dtype, dropout: bool) -> LlavaParts:
    """The parts of a LLaVA-NeXT as transformers loads it. `dropout`: whether the language model keeps its dropout."""
    config = read_config(place)
    if config.model_type != "llava_next":
        raise ValueError(f"its model_type is {config.model_type}")
    if config.projector_hidden_act != "gelu":
        raise ValueError(f"its projector has a {config.projector_hidden_act}, phi_vis a gelu")
    if not dropout:
        without_dropout(config.text_config)
    if only_shapes():
        # Not `.to(dtype)`: the tables of position embeddings stay in float32.
        shapes: Any = AutoModelForImageTextToText.from_config(config, dtype=dtype)
        return parts_of(shapes, place)
    llava, missing = read_model(LlavaNextForConditionalGeneration, place, dtype=dtype, config=config)
    refuse_missing(missing, KIND)
    return parts_of(llava, place)


def parts_of(llava: LlavaNextForConditionalGeneration, place: Place) -> LlavaParts:
    return LlavaParts(
        model=language_model(llava),
        projector=projector_weights(llava),
        depths=depths_of(llava.config),
        tokenizer=read_tokenizer(place),
    )


def depths_of(config: LlavaNextConfig) -> list[int]:
    """The indices of the vision tower's hidden states that a LLaVA-NeXT uses, counted from 0."""
    vision: Any = config.vision_config
    named, count = config.vision_feature_layer, vision.num_hidden_layers
    layers = [named] if isinstance(named, int) else list(named)
    return [layer if layer >= 0 else layer + count + 1 for layer in layers]


def language_model(llava: LlavaNextForConditionalGeneration) -> PreTrainedModel:
    """The language model and the head of a LLaVA-NeXT, as a causal language model."""
    # On the meta device, because its weights are replaced at once.
    with torch.device("meta"):
        model: Any = AutoModelForCausalLM.from_config(llava.config.text_config)
    setattr(model, model.base_model_prefix, llava.model.language_model)
    model.set_output_embeddings(llava.lm_head)
    return model.eval()


def projector_weights(llava: LlavaNextForConditionalGeneration) -> dict[str, Tensor]:
    """The projector's weights by their names in `VisualProjector`; a missing bias is 0."""
    layers = llava.model.multi_modal_projector
    weights = {}
    for name, layer in (("0", layers.linear_1), ("2", layers.linear_2)):
        weights[f"{name}.weight"] = layer.weight.detach()
        weights[f"{name}.bias"] = torch.zeros(len(layer.weight)) if layer.bias is None else layer.bias.detach()
    return weights
