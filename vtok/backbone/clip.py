"""CLIP's vision transformer as a backbone (Radford et al. 2021), through transformers."""

import logging
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from vtok.backbone.attention import received_attention, recorded_attention
from vtok.backbone.base import Backbone, FeatureShape
from vtok.common.errors import UserError
from vtok.common.pretrained import Place, dtype_of, load, only_shapes, read_model, refuse_missing
from vtok.common.setting_types import Count, Dtype

if TYPE_CHECKING:
    from transformers import CLIPVisionModel

log = logging.getLogger(__name__)

RANDOM_PATCH = 14
# Side of the images of the default weights, and of random ones.
IMAGE_SIZE = 336
WEIGHTS = "openai/clip-vit-large-patch14-336"
WAY_OUT = (
    "Set backbone.weights=PATH to a local folder that holds a CLIP model (config.json and model.safetensors as "
    "`save_pretrained` writes them), or backbone.weights=null for random weights."
)


class ClipBackbone(Backbone):
    """The patch tokens of one layer of a CLIP vision transformer, as a feature map.

    `VisionBackbone` also loads CLIP, but it runs one layer above the chosen one and needs preprocessor_config.json.

    Args:
        weights: hub id or local folder of a CLIP model (`CLIPModel`) or of its vision half (`CLIPVisionModel`). A hub
            id is looked up in the local cache first. None: the architecture of CLIP-L/14 at 336 pixels with random
            weights.
        layer: index into transformers' `hidden_states`: 0 is the embedded image, n the output of layer n, -1 that of
            the last layer before the final layer norm. Layers above it are dropped.
        revision: branch, tag or commit on the hub.
        dtype: number format of the weights and of the feature map.
        image_size: side of the images in pixels, which pretrained weights fix; None: theirs, or 336 for random weights.

    Raises:
        UserError: the weights cannot be loaded or are not CLIP's, or an argument is out of range.
    """

    def __init__(
        self,
        weights: str | Path | None = WEIGHTS,
        *,
        layer: int = -1,
        frozen: bool = True,
        revision: str | None = None,
        dtype: Dtype = "float32",
        image_size: Count | None = None,
        map_size: Count | None = None,
    ) -> None:
        # Imported late: it takes seconds, and settings are checked without it.
        from transformers.utils.constants import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

        precision = dtype_of(dtype, key="backbone.dtype")
        if weights is None:
            model = build_random(image_size or IMAGE_SIZE, dtype=precision)
        else:
            model = load(
                str(weights),
                partial(read_pretrained, dtype=precision),
                key="backbone.weights",
                kind="CLIP model",
                way_out=WAY_OUT,
                revision=revision,
            )
        config: Any = model.config
        if image_size not in (None, config.image_size):
            raise UserError(
                f"backbone.image_size={image_size}: backbone.weights={weights} takes images of {config.image_size} "
                f"pixels. Set backbone.image_size={config.image_size}, or use backbone=vision for another size."
            )
        super().__init__(
            feature_dim=config.hidden_size,
            image_size=config.image_size,
            stride=config.patch_size,
            mean=OPENAI_CLIP_MEAN,
            std=OPENAI_CLIP_STD,
            map_size=map_size,
        )
        self.depth = drop_layers_above(model, layer)
        self.vision_model = model
        self.set_frozen(frozen)

    @classmethod
    def feature_shape(cls, settings: Mapping[str, Any]) -> FeatureShape | None:
        """Known for the default weights and for random ones, which have the architecture of CLIP-L."""
        if settings["weights"] not in (None, WEIGHTS):
            return None
        own = settings["image_size"] if settings["weights"] is None else None
        size = settings.get("map_size") or (own or IMAGE_SIZE) // RANDOM_PATCH
        # 25 hidden states: the embedded image and the outputs of 24 layers.
        return FeatureShape(channels=1024, size=size, depth=settings["layer"] % 25)

    def feature_map(self, images: Tensor) -> Tensor:
        """Normalised images (N, 3, S, S) -> (N, feature_dim, S / patch, S / patch)."""
        tokens = self.vision_model(images).last_hidden_state
        patches = tokens[:, 1:]  # the first token is CLS
        return patches.transpose(1, 2).unflatten(2, (self.own_map_size, self.own_map_size))

    def attend(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """As `Backbone.attend`: the attention of the class token, averaged over heads."""
        layers = self.vision_model.encoder.layers
        if not len(layers):
            return super().attend(frames)
        with recorded_attention(layers[-1]) as recorded:
            maps = self(frames)
        received = received_attention(recorded[0], leading=1, size=self.own_map_size)
        return maps, self.averaged_attention(received)


def drop_layers_above(model: "CLIPVisionModel", layer: int) -> int:
    """Make `hidden_states[layer]` the model's last hidden state, and return the number of layers left.

    Raises:
        UserError: the model has no hidden state `layer`.
    """
    count = len(model.encoder.layers)
    if not -count - 1 <= layer <= count:
        raise UserError(
            f"backbone.layer={layer}: this CLIP has {count} layers. "
            f"Use {-count - 1} to {count} (-1 is the output of the last layer)."
        )
    depth = layer if layer >= 0 else layer + count + 1
    del model.encoder.layers[depth:]
    model.config.num_hidden_layers = depth
    # The final norm applies to the CLS token only, so its parameters would never get a gradient.
    model.add_module("post_layernorm", nn.Identity())
    return depth


def build_random(image_size: int, *, dtype: torch.dtype) -> "CLIPVisionModel":
    """The architecture of openai/clip-vit-large-patch14-336 with random weights."""
    if image_size < RANDOM_PATCH:
        raise UserError(
            f"backbone.image_size={image_size} is smaller than a patch of CLIP-L/14. Use {RANDOM_PATCH} or more."
        )
    from transformers import CLIPVisionConfig, CLIPVisionModel

    config = CLIPVisionConfig(
        hidden_size=1024,
        intermediate_size=4096,
        projection_dim=768,
        num_hidden_layers=24,
        num_attention_heads=16,
        image_size=image_size,
        patch_size=RANDOM_PATCH,
    )
    log.warning("backbone.weights=null: CLIP-L/14 at %d pixels has RANDOM weights, nothing is pretrained.", image_size)
    model: Any = CLIPVisionModel(config)
    return model.to(dtype)


def read_pretrained(place: Place, *, dtype: torch.dtype) -> "CLIPVisionModel":
    """The model as transformers loads it."""
    from transformers import CLIPVisionConfig, CLIPVisionModel

    if only_shapes():
        config = CLIPVisionConfig.from_pretrained(place.name, revision=place.revision, local_files_only=place.offline)
        shapes: Any = CLIPVisionModel(config)
        return shapes.to(dtype)
    model, missing = read_model(CLIPVisionModel, place, dtype=dtype)
    refuse_missing(missing, "CLIP vision model")
    return model
