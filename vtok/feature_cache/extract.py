"""The frozen components whose outputs a feature cache holds."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor

from vtok import __version__
from vtok.backbone import Backbone
from vtok.common.errors import UserError
from vtok.common.pretrained import dtype_of
from vtok.data.cache_blocks import ATTENTION, LATENTS, LEVELS, MAPS, SECONDS, SHARPNESS, TARGET
from vtok.data.footage import FootageSample
from vtok.data.frame_maps import FrameMaps
from vtok.feature_cache.compatibility import decodes, latent_decoder, recipe_of
from vtok.tokeniser.base import PIXELS_AT_ONCE
from vtok.tokeniser.pixels import frame_levels, frame_sharpness


@torch.no_grad()
def encode_frames(backbone: Backbone, frames: Tensor, *, attention: bool) -> FrameMaps:
    """What tokenisers read of frames (N, 3, H, W), on the device of the frames."""
    received = None
    if attention:
        maps, received = backbone.attend(frames)
    else:
        maps = backbone(frames)
    return FrameMaps(
        maps=maps,
        sharpness=frame_sharpness(frames.unsqueeze(0))[0],
        levels=frame_levels(frames.unsqueeze(0))[0],
        attention=received,
    )


@dataclass(frozen=True)
class Extractor:
    """Computes what is cached.

    Attributes:
        backbone: frozen backbone.
        to_latents: VAE encoder of the decoder, for frames (B, F, 3, H, W); None: target frames are cached instead.
        dtype: number format of the cached feature maps.
        attention: whether the backbone's attention is cached.
    """

    backbone: Backbone
    to_latents: Callable[[Tensor], Tensor] | None
    dtype: torch.dtype
    attention: bool

    @property
    def picture_bytes(self) -> int:
        """Size of what is cached of a picture: map, attention, sharpness (float32), levels (int64)."""
        places = self.backbone.feature_size**2
        return self.backbone.feature_dim * places * self.dtype.itemsize + 4 * places * self.attention + 4 + 8

    @torch.no_grad()
    def __call__(self, samples: Sequence[FootageSample]) -> list[dict[str, Tensor]]:
        """The cached tensors of each sample, by name.

        Raises:
            UserError: the backbone gives no attention, or a map does not fit into `dtype`.
        """
        device = next(self.backbone.buffers()).device
        pixels = torch.cat([sample.pixels for sample in samples])
        parts = [self._encoded(few.to(device)) for few in self._chunks(pixels)]
        named = {name: torch.cat([part[name] for part in parts]) for name in (parts[0] if parts else ())}
        counts = [len(sample.pixels) for sample in samples]
        rows: list[dict[str, Tensor]] = [{SECONDS: sample.seconds} for sample in samples]
        for name, tensor in named.items():
            for row, part in zip(rows, tensor.split(counts), strict=True):
                row[name] = part.clone(memory_format=torch.contiguous_format)
        for row, sample in zip(rows, samples, strict=True):
            for name, frames in sample.targets.items():
                if self.to_latents is None:
                    row[name] = frames
                else:
                    latents = self.to_latents(frames.unsqueeze(0).to(device))[0]
                    row[f"{LATENTS}{name.removeprefix(TARGET)}"] = latents.to("cpu", self.dtype)
        return rows

    def _chunks(self, pixels: Tensor) -> Iterator[Tensor]:
        yield from pixels.split(max(1, PIXELS_AT_ONCE // pixels.shape[-1] ** 2)) if len(pixels) else ()

    def _encoded(self, frames: Tensor) -> dict[str, Tensor]:
        encoded = encode_frames(self.backbone, frames, attention=self.attention)
        maps = encoded.maps.to("cpu", self.dtype)
        if not maps.isfinite().all():
            raise UserError(
                f"dtype={str(self.dtype).removeprefix('torch.')}: the backbone's features are not finite in this "
                "format. Use dtype=float32, or check the weights of the backbone."
            )
        named = {MAPS: maps, SHARPNESS: encoded.sharpness.cpu(), LEVELS: encoded.levels.cpu()}
        if encoded.attention is not None:
            # Not in half precision, in which many places receive equally much.
            named[ATTENTION] = encoded.attention.float().cpu()
        return named


def build_extractor(
    config: DictConfig, backbone: Backbone, *, device: str, dtype: str, attention: bool
) -> tuple[Extractor, dict[str, Any]]:
    """The extractor of a configuration with its VAE, and its description in `cache.json`."""
    backbone = backbone.to(device).eval()
    to_latents = None
    if decodes(config) and (kind := latent_decoder(config)) is not None:
        decoder = config.decoder
        vae = kind.read_vae(decoder.weights, revision=decoder.revision, dtype=decoder.vae_dtype).to(device)
        if decoder.vae_tiling:
            vae.enable_tiling()
        # One video at a time, so that a batch needs no more memory than a clip.
        vae.enable_slicing()

        def to_latents(video: Tensor) -> Tensor:
            return kind.latents_of(vae, video)

    description = {
        **recipe_of(config).as_json(),
        "dtype": dtype,
        "attention": attention,
        "backbone": {
            "feature_dim": backbone.feature_dim,
            "image_size": backbone.image_size,
            "stride": backbone.stride,
            "depth": backbone.depth,
            "map_size": backbone.map_size,
            "num_parameters": sum(parameter.numel() for parameter in backbone.parameters()),
        },
        "versions": {"vtok": __version__, "torch": torch.__version__},
    }
    return Extractor(backbone, to_latents, dtype_of(dtype, key="dtype"), attention), description
