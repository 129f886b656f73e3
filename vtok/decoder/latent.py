"""The base of decoders that are pretrained video diffusion transformers over a VAE's latents."""

import math
from abc import abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler
from torch import Tensor, nn

from vtok.common.errors import UserError
from vtok.common.finite import check_finite
from vtok.common.noise import seeded_noise
from vtok.decoder.base import Decoder
from vtok.decoder.flow import noised
from vtok.decoder.offload import in_turns, on_device

# Pixels; diffusers' pipelines require frames of a multiple of it, whatever the VAE.
PIPELINE_MULTIPLE = 16


class LatentDecoder(Decoder):
    """A pretrained diffusion transformer and its VAE, with the condition in place of text embeddings.

    The VAE is always frozen. Gradients flow through frozen transformers to their condition; they stay in eval mode
    whatever `.train()` says. The adapter from condition to text embeddings is trained.

    A subclass loads the modules, builds its adapter, ends its constructor with `self.set_frozen(frozen)` and implements
    `velocity`, `normalise`, `make_pipeline` and `run_pipeline`.

    Args:
        condition_dim: width D of the hidden states.
        num_frames: frames of a video, 4k + 1 for a VAE that compresses 4 frames into one latent frame.
        size: side of the frames in pixels, a multiple of the pixels of a transformer token.
        vae: the VAE, videos to latents.
        transformer: the diffusion transformer.
        transformer_2: the transformer for low noise levels, of models that have one.
        channels: channels of the latents.
        compression: pixels along a side, and frames, that one latent covers.
        patch: latents a side of one transformer token.
        schedule: the noise levels that training draws from.
        condition_dropout: probability of dropping the condition in training, in [0, 1], for classifier-free guidance.
        gradient_checkpointing: compute the transformer's activations a second time instead of keeping them.
        vae_tiling: run the VAE on overlapping tiles of the frames.
        vae_slicing: run the VAE on one video after the other.
        offload: keep frozen modules on the CPU until they are used: the VAE in training; in sampling the transformers
            as well, so that one module at a time is on the GPU (diffusers' model CPU offload). In training the
            transformers are needed from the forward to the backward pass and stay on the GPU. Without a GPU nothing
            moves.

    Raises:
        UserError: the model does not support this number of frames or size.
    """

    # Repeated frames would teach a video model that nothing moves.
    needs_distinct_frames = True
    least_guidance = 1.0
    # A feature cache stores its latents instead of frames.
    has_vae = True

    frozen: bool

    def __init__(
        self,
        condition_dim: int,
        *,
        num_frames: int,
        size: int,
        vae: Any,
        transformer: Any,
        transformer_2: Any = None,
        channels: int,
        compression: tuple[int, int],
        patch: int,
        schedule: FlowMatchEulerDiscreteScheduler,
        condition_dropout: float,
        gradient_checkpointing: bool,
        vae_tiling: bool,
        vae_slicing: bool,
        offload: bool,
    ) -> None:
        super().__init__()
        pixels, frames = compression
        multiple = math.lcm(PIPELINE_MULTIPLE, pixels * patch)
        if size < 1 or size % multiple:
            nearest = max(1, size // multiple) * multiple
            raise UserError(f"decoder.size={size}: this model needs a multiple of {multiple} pixels. Use {nearest}.")
        if num_frames < 1 or (num_frames - 1) % frames:
            raise UserError(
                f"decoder.num_frames={num_frames}: this model needs {frames}k + 1 frames. "
                f"Use {num_frames // frames * frames + 1}."
            )
        self.num_frames, self.size = num_frames, size
        self.latent_shape = (channels, (num_frames - 1) // frames + 1, size // pixels, size // pixels)
        self.vae, self.transformer, self.transformer_2 = vae, transformer, transformer_2
        self.schedule, self.condition_dropout, self.offload = schedule, condition_dropout, offload
        # If the condition is never dropped, this parameter gets no gradient.
        self.nothing = nn.Parameter(torch.zeros(condition_dim), requires_grad=condition_dropout > 0)
        for part in self.transformers:
            if gradient_checkpointing:
                part.enable_gradient_checkpointing()
        if vae_tiling:
            vae.enable_tiling()
        if vae_slicing:
            vae.enable_slicing()

    @abstractmethod
    def velocity(
        self,
        point: Tensor,
        time: Tensor,
        condition: Tensor,
        mask: Tensor,
        captions: Sequence[str] | None = None,
    ) -> Tensor:
        """The velocity predicted at `point` (B, C, f, h, w) and `time` (B,): the same shape, float32."""

    @staticmethod
    @abstractmethod
    def read_vae(weights: str, *, revision: str | None, dtype: str) -> Any:
        """The frozen VAE of the decoder's weights.

        Raises:
            UserError: the weights cannot be loaded.
        """

    @staticmethod
    @abstractmethod
    def normalise(vae: Any, latents: Tensor) -> Tensor:
        """A VAE's latents (B, C, f, h, w) -> normalised latents as the transformer was trained on."""

    @abstractmethod
    def make_pipeline(self) -> Any:
        """The library's own pipeline of these modules, without text encoders."""

    @abstractmethod
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
        """Generate videos (B, F, 3, size, size) in 0..1 with the pipeline.

        Args:
            pipeline: pipeline from `make_pipeline`.
            condition: (B, L, D).
            nothing: (B, L, D), the negative condition of guidance; None: no guidance.
            mask: (B, L).
            captions: B texts; None: no captions.
            noise: (B, C, f, h, w), the initial latents.
            steps: number of integration steps.
            guidance: above 1, or 1 where `nothing` is None.
        """

    @property
    def transformers(self) -> list[Any]:
        """One transformer, or two."""
        return [part for part in (self.transformer, self.transformer_2) if part is not None]

    @property
    def frozen_modules(self) -> list[Any]:
        """Modules before and after the transformers that are always frozen."""
        return [self.vae]

    @property
    def offloaded(self) -> list[Any]:
        return [*self.frozen_modules, *self.transformers] if self.offload else []

    def set_frozen(self, frozen: bool) -> None:
        """Freeze the transformers (no gradients for their weights, eval mode) or train them; the rest is frozen."""
        self.frozen = frozen
        for part in self.frozen_modules:
            part.requires_grad_(False)
        for part in self.transformers:
            part.requires_grad_(not frozen)
        self.train(self.training)

    def train(self, mode: bool = True) -> "LatentDecoder":
        """Set the training mode; frozen modules stay in eval mode."""
        super().train(mode)
        for part in self.frozen_modules:
            part.eval()
        for part in self.transformers:
            part.train(mode and not self.frozen)
        return self

    def loss(self, video: Tensor, condition: Tensor, mask: Tensor, *, captions: Sequence[str] | None = None) -> Tensor:
        # Drawn on the CPU, which reads it to drop captions.
        left_out = torch.rand(len(video), 1, 1) < self.condition_dropout
        if captions is not None:
            captions = ["" if out else one for one, out in zip(captions, left_out.flatten().tolist(), strict=True)]
        left_out = left_out.to(condition.device, non_blocking=True)
        condition = torch.where(left_out, self.nothing.to(condition.dtype), condition)
        clean = video if video.is_floating_point() else self.to_latents(video)
        for part in self.transformers if self.offload else []:
            part.to(video.device)
        point, time, sigma = noised(clean, self.schedule)
        error = self.velocity(point, time, condition, mask, captions) - (point - clean) / sigma
        return error.square().mean()

    @torch.no_grad()
    def sample(
        self,
        condition: Tensor,
        mask: Tensor,
        *,
        captions: Sequence[str] | None = None,
        seeds: Sequence[int],
        steps: int,
        guidance: float,
    ) -> Tensor:
        if guidance < 1:
            raise UserError(
                f"generation.guidance={guidance:g}: it must be 1 or more for this decoder. Use 1 for no guidance."
            )
        noise = seeded_noise(self.latent_shape, seeds, like=condition)
        nothing = self.nothing.to(condition.dtype).expand_as(condition) if guidance > 1 else None
        pipeline = self.make_pipeline()
        pipeline.set_progress_bar_config(disable=True)
        with in_turns(pipeline, condition.device) if self.offload else nullcontext():
            video = self.run_pipeline(
                pipeline, condition, nothing, mask, captions, noise=noise, steps=steps, guidance=guidance
            )
        check_finite(video, what="the decoder's frames")
        return (video.float() * 255).round().clamp(0, 255).to(torch.uint8)

    def on_device(self, part: nn.Module, device: torch.device) -> AbstractContextManager[None]:
        """Keep an offloaded module on the device within the block."""
        return on_device(part, device) if self.offload else nullcontext()

    def to_latents(self, video: Tensor) -> Tensor:
        """uint8 (B, F, 3, H, W) -> float32 (B, C, f, h, w), see `latents_of`."""
        with self.on_device(self.vae, video.device):
            return self.latents_of(self.vae, video)

    @classmethod
    @torch.no_grad()
    def latents_of(cls, vae: Any, video: Tensor) -> Tensor:
        """uint8 (B, F, 3, H, W) -> float32 (B, C, f, h, w), as the transformer was trained on them.

        They are the mode of the VAE's distribution: its noise would be lost in the noise of the loss.
        """
        pixels = (video.float() / 127.5 - 1).transpose(1, 2)
        # The VAE runs in the precision it was loaded in, whatever the rest is trained in.
        with torch.autocast(video.device.type, enabled=False):
            latents = vae.encode(pixels.to(vae.dtype)).latent_dist.mode()
        return cls.normalise(vae, latents.float())
