"""LLaVA-NeXT's language model (Liu et al. 2024), the paper's: LLaMA-3-8B that has learnt to read images."""

import logging
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
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
    fit_padding,
    read_tokenizer,
    without_dropout,
)
from vtok.mllm.projector import VisualProjector
from vtok.mllm.tiny import byte_level_tokenizer

log = logging.getLogger(__name__)

WEIGHTS = "llava-hf/llama3-llava-next-8b-hf"
KIND = "LLaVA-NeXT model"
WAY_OUT = (
    "set mllm.weights=PATH to a local folder that holds one with its tokenizer (config.json, model.safetensors and "
    "tokenizer.json as `save_pretrained` writes them), or mllm.weights=null for random weights."
)


@dataclass(frozen=True)
class Parts:
    """What is kept of a LLaVA-NeXT: everything but what sees.

    Attributes:
        model: the language model with its head.
        projector: weights by VisualProjector's names.
        depths: of the hidden states of its vision tower that the projector was trained on, see `Backbone.depth`.
        tokenizer: with the chat template.
    """

    model: PreTrainedModel
    projector: dict[str, Tensor]
    depths: list[int]
    tokenizer: PreTrainedTokenizerBase


class LlavaNextLanguageModel(LanguageModel):
    """The language model of a LLaVA-NeXT; its projector may initialise phi_vis, its vision tower is not kept.

    Args:
        weights: hub id or local folder of a LLaVA-NeXT. A hub id is looked up in the local cache first. None: a
            LLaMA-3-8B with random weights and a byte-level vocabulary, to plan with (on the meta device too).
        projector: initialise phi_vis from the model's projector, for video tokens of the width that its vision tower's
            features have (1024 where that is CLIP-L).
        revision: branch, tag or commit on the hub.
        dtype: number format of the weights. Weights that are trained must be float32.
        context_length: the longest sequence of video and text tokens; None: all that the model takes.
        video_token: the text that stands for one video token; added to the vocabulary where it is not in it.
        frozen: whether none of its weights are trained; gradients still reach the video tokens.
        gradient_checkpointing: recompute activations in the backward pass: less memory, more time.
        lora: adapters to train instead of the weights: `Lora` or a mapping of its attributes.

    Raises:
        UserError: the model cannot be had or is no LLaVA-NeXT, or an argument lies outside of what is allowed.
    """

    # Of published weights the width of the features that the projector takes, and their `Backbone.depth`.
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
        fit_padding(parts.tokenizer, parts.model)
        super().__init__(
            parts.model,
            ChatTokeniser(parts.tokenizer, video_token=video_token),
            context_length=context_length,
            frozen=frozen,
            gradient_checkpointing=gradient_checkpointing,
            lora=adapters,
        )
        # A plain dictionary: not weights of this module, only what phi_vis begins with.
        self._projector, self._depths = parts.projector if projector else {}, parts.depths
        if weights is not None and not only_shapes():
            check_logits(self, str(weights))

    def initialise_projector(self, projector: VisualProjector, *, depth: int | None) -> None:
        """Give phi_vis the weights of LLaVA-NeXT's projector; once: they are not kept.

        Raises:
            UserError: it projects features of another width than the video tokens have, or of another layer.
        """
        if not self._projector:
            return
        there, here = self._projector["0.weight"].shape[1], projector.state_dict()["0.weight"].shape[1]
        if there != here:
            raise UserError(
                f"mllm.projector=true: this model's projector takes tokens of {there} numbers and the tokeniser's have "
                f"{here}; say a backbone of {there} channels (backbone=clip) or tokeniser.token_dim={there}, or "
                "mllm.projector=false."
            )
        if depth is not None and [depth] != self._depths:
            trained = " and ".join(map(str, self._depths))
            raise UserError(
                f"mllm.projector=true: this model's projector was trained on hidden states {trained} of its vision "
                f"tower, and the backbone gives hidden state {depth}. Set backbone.layer={self._depths[0]}, or "
                "mllm.projector=false."
            )
        projector.load_state_dict(self._projector)
        self._projector = {}


def random_parts(dtype: torch.dtype) -> Parts:
    """The architecture of llava-hf/llama3-llava-next-8b-hf without what sees, untrained."""
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
    return Parts(model=model, projector={}, depths=[], tokenizer=byte_level_tokenizer())


def read_parts(place: Place, *, dtype: torch.dtype, dropout: bool) -> Parts:
    """transformers' own loading, and what is kept of it."""
    config = read_config(place)
    if config.model_type != "llava_next":
        raise ValueError(f"its model_type is {config.model_type}")
    if config.projector_hidden_act != "gelu":
        raise ValueError(f"its projector has a {config.projector_hidden_act}, phi_vis a gelu")
    if not dropout:
        without_dropout(config.text_config)
    if only_shapes():
        shapes: Any = LlavaNextForConditionalGeneration(config)
        return parts_of(shapes.to(dtype), place)
    whole, missing = read_model(LlavaNextForConditionalGeneration, place, dtype=dtype, config=config)
    refuse_missing(missing, KIND)
    return parts_of(whole, place)


def parts_of(whole: LlavaNextForConditionalGeneration, place: Place) -> Parts:
    return Parts(
        model=language_model(whole),
        projector=projector_weights(whole),
        depths=depths_of(whole.config),
        tokenizer=read_tokenizer(place),
    )


def depths_of(config: LlavaNextConfig) -> list[int]:
    """The hidden states of its vision tower that a LLaVA-NeXT reads, counted from the first, 0."""
    vision: Any = config.vision_config
    named, count = config.vision_feature_layer, vision.num_hidden_layers
    layers = [named] if isinstance(named, int) else list(named)
    return [layer if layer >= 0 else layer + count + 1 for layer in layers]


def language_model(whole: LlavaNextForConditionalGeneration) -> PreTrainedModel:
    """The language model and the head of a LLaVA-NeXT as the causal language model that they were made from."""
    # On the meta device, for its weights are replaced at once.
    with torch.device("meta"):
        model: Any = AutoModelForCausalLM.from_config(whole.config.text_config)
    setattr(model, model.base_model_prefix, whole.model.language_model)
    model.set_output_embeddings(whole.lm_head)
    return model.eval()


def projector_weights(whole: LlavaNextForConditionalGeneration) -> dict[str, Tensor]:
    """The projector's weights by the names that they have in VisualProjector; a bias that it lacks is 0."""
    layers = whole.model.multi_modal_projector
    weights = {}
    for name, layer in (("0", layers.linear_1), ("2", layers.linear_2)):
        weights[f"{name}.weight"] = layer.weight.detach()
        weights[f"{name}.bias"] = torch.zeros(len(layer.weight)) if layer.bias is None else layer.bias.detach()
    return weights
