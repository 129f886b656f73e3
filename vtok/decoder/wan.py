"""Wan 2.1 and 2.2 (Wan team 2025) as the decoder behind a light adapter, through diffusers."""

import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import torch
from annotated_types import Ge, MultipleOf
from diffusers import AutoencoderKLWan, WanPipeline, WanTransformer3DModel
from diffusers.schedulers.scheduling_unipc_multistep import UniPCMultistepScheduler
from torch import Tensor
from torch.nn import functional as F

from vtok.common.errors import UserError
from vtok.common.pretrained import Place, dtype_of, load
from vtok.common.setting_types import Count, Dtype, Fraction, OneMoreThanMultipleOf, Positive
from vtok.decoder.adapter import LightAdapter, read_text
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

Mode = Literal["replace", "append"]


class WanDecoder(LatentDecoder):
    """Wan with the hidden states, through a light adapter, instead of its text or after it (VTok).

    Wan has no text mask. It was trained on prompts padded with zeros to `text_length` tokens, and it gets the same
    here, so that a condition means the same in every batch:

    - replace: adapted hidden states, zeros.
    - append: stock text, adapted hidden states, zeros. The adapter's scale starts at 0 and acts as a gate: at step 0
      the adapted hidden states are zeros, as in stock Wan, and the video is stock Wan's bit for bit. The condition gets
      a gradient as soon as the gate has moved.

    The stock text is a file of embeddings of Wan's text encoder; without one it is all zeros, an empty prompt.

    Args:
        weights: hub id, or local folder in diffusers' layout (model_index.json, transformer/, vae/, scheduler/, and
            transformer_2/ of a model with two experts). The kind of Wan is read from it: per-token timesteps
            (2.2 5B), or two experts by noise level (2.2 A14B). None: the architecture of 2.2 5B with random weights.
        revision: branch, tag or commit on the hub.
        dtype: number format of the transformers' weights.
        vae_dtype: number format of the VAE's weights.
        num_frames: frames of a generated video, 4k + 1, evenly spread over the clip.
        size: side of the frames in pixels, a multiple of 16; for 2.2 5B of 32.
        frozen: train neither transformers nor VAE.
        mode: whether the hidden states replace Wan's text or are appended to `stock_text`.
        stock_text: safetensors file for mode=append, `prompt_embeds` (n, text_dim) without padding; None: no text.
        text_length: largest number of tokens of the condition and the stock text together.
        adapter_width: hidden width of the adapter.
        shift: shift of the noise levels towards pure noise; None: the scheduler's own.

    Raises:
        UserError: weights or text cannot be loaded or are not Wan's, or the model does not support these sizes.
    """

    stock: Tensor

    def __init__(
        self,
        condition_dim: int,
        *,
        weights: str | Path | None = "Wan-AI/Wan2.2-TI2V-5B-Diffusers",
        revision: str | None = None,
        dtype: Dtype = "bfloat16",
        vae_dtype: Dtype = "float32",
        num_frames: Annotated[int, Ge(1), OneMoreThanMultipleOf(4)] = 17,
        size: Annotated[int, Ge(16), MultipleOf(16)] = 320,
        frozen: bool = True,
        gradient_checkpointing: bool = True,
        vae_tiling: bool = False,
        vae_slicing: bool = True,
        offload: bool = False,
        mode: Mode = "replace",
        stock_text: str | Path | None = None,
        text_length: Count = 512,
        adapter_width: Count = 2048,
        shift: Positive | None = None,
        condition_dropout: Fraction = 0.1,
    ) -> None:
        if mode not in get_args(Mode):
            raise UserError(f"decoder.mode={mode}: it must be {' or '.join(get_args(Mode))}.")
        if stock_text is not None and mode != "append":
            raise UserError(f"decoder.stock_text={stock_text}: it needs decoder.mode=append. Set both, or null.")
        dtypes = dtype_of(dtype, key="decoder.dtype"), dtype_of(vae_dtype, key="decoder.vae_dtype")
        if weights is None:
            parts = build_random(*dtypes)
        else:
            parts = load(
                str(weights),
                partial(pretrained, dtype=dtypes[0], vae_dtype=dtypes[1]),
                key="decoder.weights",
                kind="Wan",
                way_out=way_out("Wan"),
                revision=revision,
                probe=PROBE,
            )
        index, transformer, transformer_2, vae, scheduler = parts
        training, sampling = schedules(scheduler, shift)
        super().__init__(
            condition_dim,
            num_frames=num_frames,
            size=size,
            vae=vae,
            transformer=transformer,
            transformer_2=transformer_2,
            channels=vae.config.z_dim,
            compression=(vae.config.scale_factor_spatial, vae.config.scale_factor_temporal),
            patch=transformer.config.patch_size[1],
            schedule=training,
            condition_dropout=condition_dropout,
            gradient_checkpointing=gradient_checkpointing,
            vae_tiling=vae_tiling,
            vae_slicing=vae_slicing,
            offload=offload,
        )
        self.expand_timesteps = bool(index.get("expand_timesteps"))
        self.boundary_ratio: float | None = index.get("boundary_ratio")
        self.scheduler, self.text_length = sampling, text_length
        text_dim = transformer.config.text_dim
        start = 1.0 if mode == "replace" else 0.0
        self.adapter = LightAdapter(condition_dim, text_dim, width=adapter_width, scale=start)
        text = read_text(stock_text, text_dim) if stock_text is not None else torch.zeros(0, text_dim)
        # It is a file of the user's and not a weight, so checkpoints do not hold it.
        self.register_buffer("stock", text, persistent=False)
        self.set_frozen(frozen)

    def text(self, condition: Tensor, mask: Tensor) -> Tensor:
        """The text embeddings of a condition (B, L, D): (B, text_length, text_dim).

        Raises:
            UserError: text and condition are longer than `text_length`.
        """
        # The adapter is trained in float32, whatever the language model is loaded in.
        adapted = self.adapter(condition.to(self.nothing.dtype))
        adapted = torch.where(mask.unsqueeze(-1), adapted, 0)
        stock = self.stock.to(adapted.dtype).expand(len(adapted), -1, -1)
        free = self.text_length - stock.shape[1] - adapted.shape[1]
        if free < 0:
            raise UserError(
                f"decoder.text_length={self.text_length}: the condition has {adapted.shape[1]} tokens and the stock "
                f"text {stock.shape[1]}. Use {self.text_length - free} or more."
            )
        return F.pad(torch.cat([stock, adapted], dim=1), (0, 0, 0, free))

    def velocity(
        self,
        point: Tensor,
        time: Tensor,
        condition: Tensor,
        mask: Tensor,
        captions: Sequence[str] | None = None,
    ) -> Tensor:
        text = self.text(condition, mask)
        if self.boundary_ratio is None:
            return self.predict(self.transformer, point, time, text)
        early = time >= self.boundary_ratio * self.schedule.config["num_train_timesteps"]
        found = torch.zeros_like(point)
        for expert, rows in ((self.transformer, early), (self.transformer_2, ~early)):
            if rows.any():
                found[rows] = self.predict(expert, point[rows], time[rows], text[rows])
            elif not self.frozen:
                # Processes reduce the gradients of both experts, whatever noise levels each process has drawn.
                found = found + 0 * self.predict(expert, point[:1], time[:1], text[:1])
        return found

    def predict(self, expert: Any, point: Tensor, time: Tensor, text: Tensor) -> Tensor:
        """The velocity that one transformer predicts."""
        dtype = self.transformer.dtype
        if self.expand_timesteps:
            # One timestep for each token; they are all the same when no frame is given.
            frames, height, width = point.shape[2:]
            step, rows, columns = expert.config.patch_size
            tokens = (frames // step) * (height // rows) * (width // columns)
            time = time.unsqueeze(1).expand(-1, tokens)
        return expert(
            hidden_states=point.to(dtype), timestep=time, encoder_hidden_states=text.to(dtype), return_dict=False
        )[0].float()

    @staticmethod
    def read_vae(weights: str, *, revision: str | None, dtype: str) -> Any:
        return load_vae(AutoencoderKLWan, weights, revision=revision, dtype=dtype, kind="Wan")

    @staticmethod
    def normalise(vae: Any, latents: Tensor) -> Tensor:
        config = vae.config
        mean, std = (
            latents.new_tensor(values).view(1, -1, 1, 1, 1) for values in (config.latents_mean, config.latents_std)
        )
        return (latents - mean) / std

    def make_pipeline(self) -> WanPipeline:
        return WanPipeline(
            tokenizer=None,
            text_encoder=None,
            vae=self.vae,
            # A scheduler holds the state of its steps, so every pipeline has its own.
            scheduler=type(self.scheduler).from_config(self.scheduler.config),
            transformer=self.transformer,
            transformer_2=self.transformer_2,
            boundary_ratio=self.boundary_ratio,
            expand_timesteps=self.expand_timesteps,
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
        return pipeline(
            prompt_embeds=self.text(condition, mask),
            negative_prompt_embeds=None if nothing is None else self.text(nothing, mask),
            height=self.size,
            width=self.size,
            num_frames=self.num_frames,
            num_inference_steps=steps,
            guidance_scale=guidance,
            latents=noise,
            output_type="pt",
            return_dict=False,
        )[0]


Parts = tuple[dict[str, Any], Any, Any, Any, Any]


def pretrained(place: Place, *, dtype: torch.dtype, vae_dtype: torch.dtype) -> Parts:
    """The index, the transformers, the VAE and the scheduler of published weights."""
    index: dict[str, Any] = WanPipeline.load_config(place.name, revision=place.revision, local_files_only=place.offline)
    vae = read_model(AutoencoderKLWan, place, "vae", dtype=vae_dtype)
    transformer = read_model(WanTransformer3DModel, place, "transformer", dtype=dtype)
    refuse_other_inputs(transformer, vae.config.z_dim)
    low_noise = None
    if index.get("boundary_ratio") is not None:
        low_noise = read_model(WanTransformer3DModel, place, "transformer_2", dtype=dtype)
    return index, transformer, low_noise, vae, read_scheduler(place)


def build_random(dtype: torch.dtype, vae_dtype: torch.dtype) -> Parts:
    """The architecture of Wan2.2-TI2V-5B, untrained."""
    log.warning("decoder.weights=null: Wan 2.2, 5 B parameters, has RANDOM weights, nothing is pretrained.")
    channels = 48
    with building_in(dtype):
        transformer = WanTransformer3DModel(
            num_attention_heads=24, in_channels=channels, out_channels=channels, ffn_dim=14336, num_layers=30
        )
    with building_in(vae_dtype):
        vae = AutoencoderKLWan(
            base_dim=160,
            decoder_base_dim=256,
            z_dim=channels,
            is_residual=True,
            in_channels=12,
            out_channels=12,
            patch_size=2,
            scale_factor_spatial=16,
            # Latents of random weights have no statistics to be normalised by.
            latents_mean=[0.0] * channels,
            latents_std=[1.0] * channels,
        )
    with torch.device("cpu"):  # it cannot be made on the meta device
        scheduler = UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=5.0)
    return {"expand_timesteps": True}, transformer, None, vae, scheduler
