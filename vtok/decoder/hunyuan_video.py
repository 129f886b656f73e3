"""HunyuanVideo (Kong et al. 2024) as the decoder, through diffusers."""

import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import torch
from annotated_types import Ge, MultipleOf
from diffusers import (
    AutoencoderKLHunyuanVideo,
    HunyuanVideoPipeline,
    HunyuanVideoTransformer3DModel,
)
from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler
from torch import Tensor, nn

from vtok.common.errors import UserError
from vtok.common.pretrained import Place, dtype_of, load
from vtok.common.setting_types import Dtype, Fraction, NotNegative, OneMoreThanMultipleOf, Positive
from vtok.decoder.clip_text import load_clip_text
from vtok.decoder.latent import LatentDecoder
from vtok.decoder.pretrained import (
    PROBE,
    building_in,
    load_vae,
    read_model,
    read_scheduler,
    refuse_other_inputs,
    schedules,
    way_out,
)

log = logging.getLogger(__name__)

PUBLISHED_SHIFT = 7.0
Pooled = Literal["zeros", "clip_text"]


class HunyuanVideoDecoder(LatentDecoder):
    """HunyuanVideo with the language model's hidden states instead of its text encoder's (VTok, section 3).

    HunyuanVideo was trained on LLaMA-3-8B's third last hidden states, `hidden_states[-3]`, before the final norm. These
    are the condition. If the language model has their width (4096), there is no adapter; otherwise a trained LayerNorm
    and Linear map them to it. HunyuanVideo's second text input is one vector of CLIP's text encoder: zeros, or the
    caption's (of its first 77 tokens, as published). If the caption is left out, or the condition for guidance, it is
    the vector of "".

    Args:
        weights: hub id, or local folder in diffusers' layout (transformer/, vae/, scheduler/). None: this architecture
            at its size, 13 billion parameters, with random weights.
        revision: branch, tag or commit on the hub.
        dtype: number format of the transformer's weights.
        vae_dtype: number format of the VAE's weights.
        num_frames: frames of a generated video, 4k + 1, evenly spread over the clip.
        size: side of the frames in pixels, a multiple of 16.
        frozen: train neither transformer nor VAE.
        condition_layer: index of the hidden states that are the condition, in transformers' `hidden_states`: -3 as
            published (diffusers' pipeline skips 2 layers), -1 for the last ones after the final norm.
        pooled: "zeros", or "clip_text", which needs weights with text_encoder_2/ and tokenizer_2/. The encoder is
            frozen and float32.
        embedded_guidance: guidance input of a guidance-distilled transformer, in training and in sampling; ignored by
            transformers without `guidance_embeds`.
        shift: shift of the noise levels towards pure noise; None: the scheduler's own, which is 7.

    Raises:
        UserError: the weights cannot be loaded or are not HunyuanVideo's, or the model does not support these sizes.
    """

    def __init__(
        self,
        condition_dim: int,
        *,
        weights: str | Path | None = "hunyuanvideo-community/HunyuanVideo",
        revision: str | None = None,
        dtype: Dtype = "bfloat16",
        vae_dtype: Dtype = "float32",
        num_frames: Annotated[int, Ge(1), OneMoreThanMultipleOf(4)] = 17,
        size: Annotated[int, Ge(16), MultipleOf(16)] = 336,
        frozen: bool = True,
        gradient_checkpointing: bool = True,
        vae_tiling: bool = False,
        vae_slicing: bool = True,
        offload: bool = False,
        condition_layer: int = -3,
        pooled: Pooled = "zeros",
        embedded_guidance: NotNegative = 6.0,
        shift: Positive | None = None,
        condition_dropout: Fraction = 0.1,
    ) -> None:
        if pooled not in get_args(Pooled):
            raise UserError(f"decoder.pooled={pooled}: it must be {' or '.join(get_args(Pooled))}.")
        dtypes = dtype_of(dtype, key="decoder.dtype"), dtype_of(vae_dtype, key="decoder.vae_dtype")
        # First: a missing text encoder is reported before 13 billion parameters are read.
        clip_text = load_clip_text(weights, revision=revision) if pooled == "clip_text" else None
        if weights is None:
            transformer, vae, scheduler = build_random(*dtypes)
        else:
            transformer, vae, scheduler = load(
                str(weights),
                partial(pretrained, dtype=dtypes[0], vae_dtype=dtypes[1]),
                key="decoder.weights",
                kind="HunyuanVideo",
                way_out=way_out("HunyuanVideo"),
                revision=revision,
                probe=PROBE,
            )
        training, sampling = schedules(scheduler, shift)
        super().__init__(
            condition_dim,
            num_frames=num_frames,
            size=size,
            vae=vae,
            transformer=transformer,
            channels=vae.config.latent_channels,
            compression=(vae.spatial_compression_ratio, vae.temporal_compression_ratio),
            patch=transformer.config.patch_size,
            schedule=training,
            condition_dropout=condition_dropout,
            gradient_checkpointing=gradient_checkpointing,
            vae_tiling=vae_tiling,
            vae_slicing=vae_slicing,
            offload=offload,
        )
        self.condition_layer = condition_layer
        self.embedded_guidance, self.scheduler, self.clip_text = embedded_guidance, sampling, clip_text
        wanted = transformer.config.pooled_projection_dim
        if clip_text is not None and clip_text.width != wanted:
            raise UserError(
                f"decoder.pooled=clip_text: the text encoder's embeddings have width {clip_text.width}, but the "
                f"transformer needs {wanted}. Use decoder.pooled=zeros, or other decoder.weights."
            )
        text_dim = transformer.config.text_embed_dim
        self.adapter: nn.Module = nn.Identity()
        if condition_dim != text_dim:
            self.adapter = nn.Sequential(nn.LayerNorm(condition_dim), nn.Linear(condition_dim, text_dim))
        self.set_frozen(frozen)

    @property
    def frozen_modules(self) -> list[Any]:
        return [*super().frozen_modules, *([] if self.clip_text is None else [self.clip_text])]

    def velocity(
        self,
        point: Tensor,
        time: Tensor,
        condition: Tensor,
        mask: Tensor,
        captions: Sequence[str] | None = None,
    ) -> Tensor:
        model, dtype = self.transformer, self.transformer.dtype
        guidance = None
        if model.config.guidance_embeds:
            guidance = torch.full((len(point),), self.embedded_guidance, dtype=dtype, device=point.device) * 1000
        return model(
            hidden_states=point.to(dtype),
            timestep=time,
            encoder_hidden_states=self.embed(condition).to(dtype),
            encoder_attention_mask=mask.to(dtype),
            pooled_projections=self.pooled(condition, captions).to(dtype),
            guidance=guidance,
            return_dict=False,
        )[0].float()

    def embed(self, condition: Tensor) -> Tensor:
        """Hidden states (B, L, D) -> (B, L, text_embed_dim)."""
        # The adapter is trained in float32, whatever the language model is loaded in.
        return self.adapter(condition.to(self.nothing.dtype))

    def pooled(self, condition: Tensor, captions: Sequence[str] | None) -> Tensor:
        """(B, pooled_projection_dim): CLIP's vectors of the captions ("" if a video has none), or zeros."""
        if self.clip_text is None:
            return condition.new_zeros(len(condition), self.transformer.config.pooled_projection_dim)
        with self.on_device(self.clip_text, condition.device):
            return self.clip_text(captions or [""] * len(condition))

    @staticmethod
    def read_vae(weights: str, *, revision: str | None, dtype: str) -> Any:
        return load_vae(AutoencoderKLHunyuanVideo, weights, revision=revision, dtype=dtype, kind="HunyuanVideo")

    @staticmethod
    def normalise(vae: Any, latents: Tensor) -> Tensor:
        return latents * vae.config.scaling_factor

    def make_pipeline(self) -> HunyuanVideoPipeline:
        return HunyuanVideoPipeline(
            text_encoder=None,
            tokenizer=None,
            text_encoder_2=None,
            tokenizer_2=None,
            transformer=self.transformer,
            vae=self.vae,
            # A scheduler holds the state of its steps, so every pipeline has its own.
            scheduler=type(self.scheduler).from_config(self.scheduler.config),
        )

    def run_pipeline(
        self,
        pipeline: Any,
        condition: Tensor,
        nothing: Tensor | None,
        mask: Tensor,
        captions: Sequence[str] | None,
        *,
        noise: Tensor,
        steps: int,
        guidance: float,
    ) -> Tensor:
        negative = None if nothing is None else self.embed(nothing)
        return pipeline(
            prompt_embeds=self.embed(condition),
            prompt_attention_mask=mask,
            pooled_prompt_embeds=self.pooled(condition, captions),
            negative_prompt_embeds=negative,
            negative_prompt_attention_mask=None if negative is None else mask,
            negative_pooled_prompt_embeds=None if negative is None else self.pooled(condition, None),
            height=self.size,
            width=self.size,
            num_frames=self.num_frames,
            num_inference_steps=steps,
            true_cfg_scale=guidance,
            guidance_scale=self.embedded_guidance,
            latents=noise,
            output_type="pt",
            return_dict=False,
        )[0]


def pretrained(place: Place, *, dtype: torch.dtype, vae_dtype: torch.dtype) -> tuple[Any, Any, Any]:
    """Transformer, VAE and scheduler of published weights."""
    vae = read_model(AutoencoderKLHunyuanVideo, place, "vae", dtype=vae_dtype)
    transformer = read_model(HunyuanVideoTransformer3DModel, place, "transformer", dtype=dtype)
    refuse_other_inputs(transformer, vae.config.latent_channels)
    scheduler = read_scheduler(place)
    if not isinstance(scheduler, FlowMatchEulerDiscreteScheduler):
        raise ValueError(f"HunyuanVideo is sampled with FlowMatchEuler, not {type(scheduler).__name__}")
    return transformer, vae, scheduler


def build_random(dtype: torch.dtype, vae_dtype: torch.dtype) -> tuple[Any, Any, Any]:
    """The published architecture (the classes' defaults) with random weights."""
    log.warning("decoder.weights=null: HunyuanVideo (13 B parameters) has RANDOM weights.")
    with building_in(dtype):
        transformer = HunyuanVideoTransformer3DModel()
    with building_in(vae_dtype):
        vae = AutoencoderKLHunyuanVideo()
    return transformer, vae, FlowMatchEulerDiscreteScheduler(shift=PUBLISHED_SHIFT)
