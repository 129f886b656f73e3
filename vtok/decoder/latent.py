"""What pretrained video diffusion transformers over a VAE's latents have in common."""

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
from vtok.decoder.offload import at_work, in_turns

PIPELINE_MULTIPLE = 16  # of pixels, that diffusers' pipelines insist on whatever the VAE


class LatentDecoder(Decoder):
    """A diffusion transformer and its VAE, both as they were pretrained, told by the condition instead of by text.

    The VAE is always frozen. Frozen transformers pass the gradient on to their condition, never change and stay in eval
    mode whatever `.train()` says. What turns the condition into text embeddings is trained.

    A subclass loads the parts, makes its adapter, ends its constructor with `self.set_frozen(frozen)` and implements
    `velocity`, `normalise`, `make_pipeline` and `film`.

    Args:
        condition_dim: width D of the hidden states.
        num_frames: of a video, 4k + 1 for a VAE that makes one latent frame of 4.
        size: of the frames in pixels, a multiple of what a token of the transformer sees.
        vae: makes latents of videos.
        transformer: from noise to latents.
        transformer_2: the same for low noise, where there is one.
        channels: of the latents.
        compression: pixels a side and frames that are one latent.
        patch: latents a side that are one token of the transformer.
        schedule: the noise levels that training draws from.
        condition_dropout: how often the condition is left out in training, in 0..1, for guidance.
        gradient_checkpointing: compute the transformer's activations a second time instead of keeping them.
        vae_tiling: run the VAE on overlapping tiles of the frames.
        vae_slicing: run the VAE on one video after the other.
        offload: keep frozen parts on the CPU and off the GPU but while they are used: the VAE in training; in sampling
            the transformers, too, so that one part at a time is on the GPU (diffusers' model CPU offload). In training
            the transformers are needed from the forward to the backward pass, and stay. Without a GPU nothing moves.

    Raises:
        UserError: a number of frames or a size that the model does not take.
    """

    # Frames that came more than once would teach a video model that the world stands still.
    needs_distinct_frames = True
    least_guidance = 1.0
    # Its latents stand for frames in a feature cache.
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
            raise UserError(f"decoder.size={size}: this model takes multiples of {multiple} pixels.")
        if num_frames < 1 or (num_frames - 1) % frames:
            raise UserError(
                f"decoder.num_frames={num_frames}: this model takes {frames}k + 1 frames, "
                f"such as {num_frames // frames * frames + 1}."
            )
        self.num_frames, self.size = num_frames, size
        self.latent_shape = (channels, (num_frames - 1) // frames + 1, size // pixels, size // pixels)
        self.vae, self.transformer, self.transformer_2 = vae, transformer, transformer_2
        self.schedule, self.condition_dropout, self.offload = schedule, condition_dropout, offload
        # Where the condition is never left out, no loss reaches it.
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
        """What the transformer predicts at `point` (B, C, f, h, w) of `time` (B,), of the same shape, float32."""

    @staticmethod
    @abstractmethod
    def read_vae(weights: str, *, revision: str | None, dtype: str) -> Any:
        """The VAE alone, frozen, of the weights that the decoder has.

        Raises:
            UserError: it cannot be had.
        """

    @staticmethod
    @abstractmethod
    def normalise(vae: Any, latents: Tensor) -> Tensor:
        """A VAE's latents (B, C, f, h, w) -> those that the transformer was trained on."""

    @abstractmethod
    def make_pipeline(self) -> Any:
        """The library's own pipeline of these parts, without text encoders."""

    @abstractmethod
    def film(
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
        """Let the pipeline make videos (B, F, 3, size, size) in 0..1.

        Args:
            pipeline: of `make_pipeline`.
            condition: (B, L, D).
            nothing: (B, L, D), what guidance leads away from; None without guidance.
            mask: (B, L).
            captions: B texts; None: none.
            noise: (B, C, f, h, w), the latents to start from.
            steps: of the integration.
            guidance: above 1, or 1 where `nothing` is None.
        """

    @property
    def transformers(self) -> list[Any]:
        """The one, or both."""
        return [part for part in (self.transformer, self.transformer_2) if part is not None]

    @property
    def aides(self) -> list[Any]:
        """What the transformers need before and after them; always frozen."""
        return [self.vae]

    @property
    def waiting(self) -> list[Any]:
        return [*self.aides, *self.transformers] if self.offload else []

    def set_frozen(self, frozen: bool) -> None:
        """Freeze the transformers (no gradient of their own, eval mode for good) or train them; the rest is frozen."""
        self.frozen = frozen
        for part in self.aides:
            part.requires_grad_(False)
        for part in self.transformers:
            part.requires_grad_(not frozen)
        self.train(self.training)

    def train(self, mode: bool = True) -> "LatentDecoder":
        """Set the training mode; what is frozen stays in eval mode."""
        super().train(mode)
        for part in self.aides:
            part.eval()
        for part in self.transformers:
            part.train(mode and not self.frozen)
        return self

    def loss(self, video: Tensor, condition: Tensor, mask: Tensor, *, captions: Sequence[str] | None = None) -> Tensor:
        left_out = torch.rand(len(video), 1, 1, device=video.device) < self.condition_dropout
        condition = torch.where(left_out, self.nothing.to(condition.dtype), condition)
        if captions is not None:
            captions = ["" if out else one for one, out in zip(captions, left_out.flatten().tolist(), strict=True)]
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
            raise UserError(f"generation.guidance={guidance:g}: this decoder takes 1, which is none, or more.")
        noise = seeded_noise(self.latent_shape, seeds, like=condition)
        nothing = self.nothing.to(condition.dtype).expand_as(condition) if guidance > 1 else None
        pipeline = self.make_pipeline()
        pipeline.set_progress_bar_config(disable=True)
        with in_turns(pipeline, condition.device) if self.offload else nullcontext():
            video = self.film(pipeline, condition, nothing, mask, captions, noise=noise, steps=steps, guidance=guidance)
        check_finite(video, what="the decoder's frames")
        return (video.float() * 255).round().clamp(0, 255).to(torch.uint8)

    def at_work(self, part: nn.Module, device: torch.device) -> AbstractContextManager[None]:
        """A part that is offloaded, on the device for as long as it is used."""
        return at_work(part, device) if self.offload else nullcontext()

    def to_latents(self, video: Tensor) -> Tensor:
        """uint8 (B, F, 3, H, W) -> float32 (B, C, f, h, w), see `latents_of`."""
        with self.at_work(self.vae, video.device):
            return self.latents_of(self.vae, video)

    @classmethod
    @torch.no_grad()
    def latents_of(cls, vae: Any, video: Tensor) -> Tensor:
        """uint8 (B, F, 3, H, W) -> float32 (B, C, f, h, w), as the transformer was trained on them.

        The most likely latents: the noise of the VAE's own distribution would be lost in the noise of the loss.
        """
        pixels = (video.float() / 127.5 - 1).transpose(1, 2)
        # The VAE is run in the precision that it was loaded in, whatever the rest is trained in.
        with torch.autocast(video.device.type, enabled=False):
            latents = vae.encode(pixels.to(vae.dtype)).latent_dist.mode()
        return cls.normalise(vae, latents.float())
