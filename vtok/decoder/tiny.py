"""A small video diffusion transformer that is trained from scratch, for machines without weights."""

from collections.abc import Sequence
from typing import Annotated

import torch
from annotated_types import Ge, MultipleOf
from diffusers.models.transformers.transformer_hunyuan_video import HunyuanVideoTransformer3DModel
from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler
from torch import Tensor, nn

from vtok.common.errors import UserError
from vtok.common.finite import check_finite
from vtok.common.noise import seeded_noise
from vtok.common.setting_types import Count, CountOrZero, Fraction, MultipleOfSetting, Positive
from vtok.decoder.base import Decoder
from vtok.decoder.flow import integrate, noised

# Mean and standard deviation of typical frames in 0..1, so that latents have about mean 0 and deviation 1.
MIDDLE, SPREAD = 0.45, 0.2
LEAST_SIGMA = 0.05


class TinyDecoder(Decoder):
    """HunyuanVideo's transformer at toy size; squares of pixels are its latents.

    The condition enters twice: as the transformer's text, and as a sketch: extra channels beside the latents that say
    what is where in which frame. From text alone the transformer learns late which latents a token refers to.

    It predicts the clean video, and the loss is weighted as an error of the velocity: in short trainings this learns
    sooner than predicting the velocity.

    Args:
        condition_dim: width D of the hidden states.
        num_frames: frames of a video, evenly spread over the clip.
        size: side of the frames in pixels, a multiple of `patch`.
        patch: side of the squares of pixels that are one latent each.
        heads: number of attention heads.
        head_dim: width of an attention head, a multiple of 6; the transformer's width is heads x head_dim.
        double_layers: number of blocks in which video and condition have weights of their own.
        single_layers: number of blocks in which video and condition share their weights.
        sketch_channels: number of channels of the sketch.
        shift: shift of the noise levels towards pure noise, as in HunyuanVideo's schedule; 1: no shift. At low noise
            the video is visible without the condition, so nothing is learnt about the condition.
        condition_dropout: probability of dropping the condition in training, in [0, 1], for classifier-free guidance.

    Raises:
        UserError: `size` is not a multiple of `patch`, or `head_dim` of 6.
    """

    def __init__(
        self,
        condition_dim: int,
        *,
        num_frames: Count = 8,
        size: Annotated[int, Ge(1), MultipleOfSetting("patch")] = 32,
        patch: Count = 8,
        heads: Count = 4,
        head_dim: Annotated[int, Ge(6), MultipleOf(6)] = 24,
        double_layers: Count = 2,
        single_layers: CountOrZero = 2,
        sketch_channels: Count = 32,
        shift: Positive = 7.0,
        condition_dropout: Fraction = 0.1,
    ) -> None:
        super().__init__()
        if size % patch:
            raise UserError(
                f"decoder.size={size}: it must be a multiple of decoder.patch={patch}. Use {-(-size // patch) * patch}."
            )
        if head_dim % 6:
            raise UserError(
                f"decoder.head_dim={head_dim}: it must be a multiple of 6, which time, height and width share. "
                f"Use {-(-head_dim // 6) * 6}."
            )
        self.num_frames, self.size, self.patch = num_frames, size, patch
        self.condition_dropout = condition_dropout
        width, channels, side = heads * head_dim, 3 * patch**2, size // patch
        self.adapter = nn.Sequential(nn.LayerNorm(condition_dim), nn.Linear(condition_dim, width))
        # If the condition is never dropped, no loss reaches this parameter.
        self.nothing = nn.Parameter(torch.zeros(condition_dim), requires_grad=condition_dropout > 0)
        self.sketch = Sketch(width, heads=heads, shape=(sketch_channels, num_frames, side, side))
        self.transformer = HunyuanVideoTransformer3DModel(
            in_channels=channels + sketch_channels,
            out_channels=channels,
            num_attention_heads=heads,
            attention_head_dim=head_dim,
            num_layers=double_layers,
            num_single_layers=single_layers,
            num_refiner_layers=1,
            patch_size=1,
            guidance_embeds=False,
            text_embed_dim=width,
            pooled_projection_dim=width,
            rope_axes_dim=(head_dim // 3,) * 3,
        )
        if not single_layers:
            # No later block reads the condition, so no loss would reach them.
            last = self.transformer.transformer_blocks[-1]
            last.attn.to_add_out.requires_grad_(False)
            last.ff_context.requires_grad_(False)
        self.scheduler = FlowMatchEulerDiscreteScheduler(shift=shift)

    def loss(self, video: Tensor, condition: Tensor, mask: Tensor, *, captions: Sequence[str] | None = None) -> Tensor:
        left_out = torch.rand(len(video), 1, 1, device=video.device) < self.condition_dropout
        condition = torch.where(left_out, self.nothing.to(condition.dtype), condition)
        clean = self.to_latents(video)
        point, time, sigma = noised(clean, self.scheduler)
        # The error of the velocity, (point - clean) / sigma, is the clean video's divided by sigma.
        error = (self.clean(point, time, condition, mask) - clean) / sigma.clamp(min=LEAST_SIGMA)
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
        side = self.size // self.patch
        noise = seeded_noise((3 * self.patch**2, self.num_frames, side, side), seeds, like=condition)
        nothing = self.nothing.to(condition.dtype).expand_as(condition)

        def velocity(point: Tensor, time: Tensor) -> Tensor:
            sigma = (time / self.scheduler.config["num_train_timesteps"]).view(-1, 1, 1, 1, 1)
            clean = self.clean(point, time, condition, mask)
            if guidance != 1:
                plain = self.clean(point, time, nothing, mask)
                clean = plain + guidance * (clean - plain)
            return (point - clean) / sigma

        video = integrate(velocity, noise, scheduler=self.scheduler, steps=steps)
        check_finite(video, what="the decoder's frames")
        return self.to_video(video)

    def clean(self, point: Tensor, time: Tensor, condition: Tensor, mask: Tensor) -> Tensor:
        """The clean video (B, C, F, h, w) predicted from `point` at `time` (B,)."""
        tokens = self.adapter(condition)
        tokens = tokens + places(tokens)
        weights = mask.unsqueeze(-1) / mask.sum(1).clamp(min=1).view(-1, 1, 1)
        return self.transformer(
            hidden_states=torch.cat([point.to(tokens.dtype), self.sketch(tokens, mask)], dim=1),
            timestep=time,
            encoder_hidden_states=tokens,
            encoder_attention_mask=mask.long(),
            pooled_projections=(tokens * weights).sum(1),
            return_dict=False,
        )[0].float()

    def to_latents(self, video: Tensor) -> Tensor:
        """uint8 (B, F, 3, H, W) -> (B, C, F, h, w) with about mean 0 and standard deviation 1."""
        values = (video.float() / 255 - MIDDLE) / SPREAD
        return nn.functional.pixel_unshuffle(values, self.patch).transpose(1, 2)

    def to_video(self, latents: Tensor) -> Tensor:
        """The inverse of `to_latents`."""
        values = nn.functional.pixel_shuffle(latents.transpose(1, 2), self.patch)
        return ((values * SPREAD + MIDDLE) * 255).round().clamp(0, 255).to(torch.uint8)


class Sketch(nn.Module):
    """A low-resolution picture of the condition: every latent attends to all tokens once.

    Args:
        width: width of the tokens.
        heads: number of attention heads.
        shape: shape (C, F, h, w) of the sketch.
    """

    def __init__(self, width: int, *, heads: int, shape: tuple[int, int, int, int]) -> None:
        super().__init__()
        channels, frames, height, breadth = shape
        self.shape = (frames, height, breadth)
        self.latents = nn.Parameter(torch.randn(frames * height * breadth, width) * width**-0.5)
        self.look = nn.MultiheadAttention(width, heads, batch_first=True)
        # Each place has its own weights: what attention returns does not say where it is.
        self.draw = nn.Parameter(torch.randn(height * breadth, width, channels) * width**-0.5)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Tokens (B, L, width), mask (B, L) False at padding -> (B, C, F, h, w)."""
        latents = self.latents.to(tokens.dtype).expand(len(tokens), -1, -1)
        seen, _ = self.look(latents, tokens, tokens, key_padding_mask=~mask, need_weights=False)
        frames, height, breadth = self.shape
        drawn = torch.einsum("bfpw,pwc->bcfp", seen.unflatten(1, (frames, -1)), self.draw.to(seen.dtype))
        return drawn.unflatten(-1, (height, breadth))


def places(tokens: Tensor) -> Tensor:
    """Sinusoidal position encodings (L, width) for tokens (B, L, width)."""
    number, width = tokens.shape[1:]
    frequencies = 100 ** (-torch.arange(0, width, 2, device=tokens.device) / width)
    angles = torch.arange(number, device=tokens.device).unsqueeze(1) * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=1)[:, :width].to(tokens.dtype)
