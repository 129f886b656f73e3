"""Any vision transformer of transformers (DINOv2, DINOv3, SigLIP, SigLIP 2, ViT, CLIP, ...) as a backbone."""

import inspect
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call

from vtok.backbone.attention import drop_layers_above, received_attention, recorded_attention, transformer_layers
from vtok.backbone.base import Backbone, FeatureShape
from vtok.common.errors import UserError
from vtok.common.pretrained import (
    Place,
    dtype_of,
    first_line,
    load,
    only_shapes,
    read_config,
    read_model,
    refuse_missing,
)
from vtok.common.setting_types import Count, Dtype

log = logging.getLogger(__name__)

KIND = "vision transformer"
WEIGHTS = "facebook/dinov2-large"
WAY_OUT = (
    "Set backbone.weights=PATH to a local folder that holds a vision model of transformers (config.json and "
    "model.safetensors as `save_pretrained` writes them, preprocessor_config.json beside them), or "
    "backbone.weights=null for random weights."
)
# Tokens besides patches and registers: none, a CLS token, a CLS and a distillation token (DeiT).
LEADING = (0, 1, 2)


@dataclass(frozen=True)
class VisionModel:
    """A vision transformer and its normalisation.

    Attributes:
        model: transformers model that returns `hidden_states`.
        mean: mean of the red, green and blue values in 0..1 of its training images.
        std: their standard deviation.
    """

    model: Any
    mean: list[float]
    std: list[float]


@dataclass(frozen=True)
class HiddenState:
    """One of the hidden states of a model.

    Attributes:
        index: index into `hidden_states`, 0 or more.
        image_size: side of the images in pixels.
        leading: number of tokens before those of the patches.
        parameters: names of the parameters that the hidden state depends on.
    """

    index: int
    image_size: int
    leading: int
    parameters: frozenset[str]


class VisionBackbone(Backbone):
    """The patch tokens of one hidden state of a vision transformer, as a feature map.

    A model of images and texts (CLIP, SigLIP) is loaded without its text half. Tokens that are not patches (CLS,
    registers) are dropped. Images are resized bicubically until the short side fits and cropped in the centre, whatever
    the model's own processor does. The mean and standard deviation are those of `preprocessor_config.json`.

    Args:
        weights: hub id or local folder of a transformers model. A hub id is looked up in the local cache first. None:
            the architecture of facebook/dinov2-large with random weights.
        revision: branch, tag or commit on the hub.
        layer: index into transformers' `hidden_states`: 0 is the embedded image, n the output of layer n, -1 the last.
            Layers above it are dropped, except one.
        image_size: side of the images in pixels; None: the model's own size. For any other size the model must
            interpolate its position encodings.
        dtype: number format of the weights and of the feature map.
        frozen: whether no weight is trained. If False, weights that the hidden state does not depend on (pooling, last
            norm) stay frozen.

    Raises:
        UserError: the weights cannot be loaded or are not a vision transformer, or an argument is out of range.
    """

    def __init__(
        self,
        weights: str | Path | None = WEIGHTS,
        *,
        revision: str | None = None,
        layer: int = -1,
        image_size: Count | None = 224,
        dtype: Dtype = "float32",
        frozen: bool = True,
        map_size: Count | None = None,
    ) -> None:
        precision = dtype_of(dtype, key="backbone.dtype")
        if weights is None:
            vision = build_random(precision)
            state = find_hidden_state(vision.model, layer, image_size)
        else:
            vision, state = load(
                str(weights),
                partial(read_pretrained, dtype=precision, layer=layer, image_size=image_size),
                key="backbone.weights",
                kind=KIND,
                way_out=WAY_OUT,
                revision=revision,
            )
        config = vision.model.config
        super().__init__(
            feature_dim=config.hidden_size,
            image_size=state.image_size,
            stride=square_side(config.patch_size),
            mean=vision.mean,
            std=vision.std,
            map_size=map_size,
        )
        drop_layers_above(vision.model, state.index)
        self.hidden_state, self.depth = state, state.index
        self.model = vision.model
        self.set_frozen(frozen)

    def set_frozen(self, frozen: bool) -> None:
        """Freeze all parameters, or train those that the feature map depends on."""
        super().set_frozen(frozen)
        for name, parameter in self.model.named_parameters():
            parameter.requires_grad_(not frozen and name in self.hidden_state.parameters)

    @classmethod
    def feature_shape(cls, settings: Mapping[str, Any]) -> FeatureShape | None:
        """Known for the default weights and for random ones, which have the architecture of DINOv2-L."""
        if settings["weights"] not in (None, WEIGHTS):
            return None
        return FeatureShape(channels=1024, size=settings.get("map_size") or (settings["image_size"] or 518) // 14)

    def feature_map(self, images: Tensor) -> Tensor:
        """Normalised images (N, 3, S, S) -> (N, feature_dim, S / patch, S / patch)."""
        images = images.to(next(self.model.parameters()).dtype)
        states = self.model(images, **options_of(self.model, images)).hidden_states
        state = states[self.hidden_state.index]
        patches = state[:, self.hidden_state.leading :]
        return patches.transpose(1, 2).unflatten(2, (self.own_map_size, self.own_map_size))

    def attend(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """As `Backbone.attend`: the attention of the class token, or of all tokens where the model has none."""
        index, layers = self.hidden_state.index, transformer_layers(self.model)
        if index == 0:
            return super().attend(frames)
        with recorded_attention(layers[index - 1] if len(layers) else self.model) as recorded:
            maps = self(frames)
        received = received_attention(recorded[0], leading=self.hidden_state.leading, size=self.own_map_size)
        return maps, self.averaged_attention(received)


def read_pretrained(
    place: Place, *, dtype: torch.dtype, layer: int, image_size: int | None
) -> tuple[VisionModel, HiddenState]:
    """The model as transformers loads it, and its hidden state `layer`.

    Raises:
        UserError: the model has no such hidden state.
        ValueError, OSError: a file is missing, or the model is not a vision transformer.
    """
    from transformers import AutoModel

    config = read_config(place)
    # The vision half alone: the text half is not read.
    config = getattr(config, "vision_config", config)
    if not hasattr(config, "patch_size"):
        raise ValueError(f"its model_type is {config.model_type}")
    mean, std = normalisation(place)
    if only_shapes():
        vision = VisionModel(AutoModel.from_config(config, dtype=dtype, trust_remote_code=False), mean, std)
        return vision, find_hidden_state(vision.model, layer, image_size)
    model, missing = read_model(AutoModel, place, dtype=dtype, config=config)
    state = find_hidden_state(model, layer, image_size)
    refuse_missing([name for name in missing if name in state.parameters], KIND)
    return VisionModel(model, mean, std), state


def normalisation(place: Place) -> tuple[list[float], list[float]]:
    """Mean and standard deviation from the image processor's file, read as JSON because processors need torchvision.

    Raises:
        OSError: the file is missing or does not have them.
    """
    from transformers.models.auto.image_processing_auto import get_image_processor_config

    settings = get_image_processor_config(place.name, revision=place.revision, local_files_only=place.offline)
    if settings.get("do_normalize") is False:
        return [0.0] * 3, [1.0] * 3
    try:
        return list(settings["image_mean"]), list(settings["image_std"])
    except (KeyError, TypeError) as error:
        raise OSError("it has no preprocessor_config.json with image_mean and image_std") from error


def build_random(dtype: torch.dtype) -> VisionModel:
    """The architecture of facebook/dinov2-large with random weights."""
    log.warning("backbone.weights=null: DINOv2-L/14 has RANDOM weights, nothing is pretrained.")
    from transformers import AutoModel, Dinov2Config
    from transformers.utils.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

    config = Dinov2Config(hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, image_size=518, patch_size=14)
    model = AutoModel.from_config(config, dtype=dtype)
    return VisionModel(model, IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD)


def find_hidden_state(model: Any, layer: int, image_size: int | None) -> HiddenState:
    """The hidden state `layer`, its tokens and its parameters, found by running the model on the meta device.

    Raises:
        UserError: the model has no such layer, or does not take images of this size.
        ValueError: the model is not a vision transformer for square images.
    """
    try:
        own, patch = square_side(model.config.image_size), square_side(model.config.patch_size)
        registers = getattr(model.config, "num_register_tokens", 0) or 0
    except AttributeError as error:
        raise ValueError(f"{type(model).__name__} is not a {KIND}: {error}") from error
    size = own if image_size is None else image_size
    # A model's own size need not be a multiple: SigLIP has patches of 14 in images of 384, and was trained so.
    if size != own and (rest := size % patch):
        raise UserError(
            f"backbone.image_size={size} leaves out {rest} pixels: this model sees patches of {patch}. "
            f"Use {max(size - rest, patch)} or {size - rest + patch}."
        )
    parameters = {
        name: torch.empty_like(one, device="meta", requires_grad=True) for name, one in model.named_parameters()
    }
    buffers = {name: torch.empty_like(one, device="meta") for name, one in model.named_buffers()}
    images = torch.empty(1, 3, size, size, device="meta", dtype=next(iter(parameters.values())).dtype)
    try:
        with torch.enable_grad():
            output = functional_call(model, {**buffers, **parameters}, (images,), options_of(model, images))
            states = output.hidden_states
    except (ValueError, TypeError, RuntimeError, AttributeError) as error:
        reason = first_line(error)
        if size != own:
            raise UserError(
                f"backbone.image_size={size}: {type(model).__name__} only takes images of its own size ({reason}). "
                f"Set backbone.image_size={own} or null."
            ) from error
        raise ValueError(f"{type(model).__name__} does not run on images of {size} pixels: {reason}") from error
    if not states:
        raise ValueError(f"{type(model).__name__} returns no hidden states")
    count = len(states) - 1
    if not -count - 1 <= layer <= count:
        raise UserError(
            f"backbone.layer={layer}: this {type(model).__name__} has {count} layers. "
            f"Use {-count - 1} to {count} (-1 is the output of the last layer)."
        )
    index = layer if layer >= 0 else layer + count + 1
    state, patches = states[index], (size // patch) ** 2
    if state.dim() != 3 or state.shape[1] - patches - registers not in LEADING:
        raise ValueError(
            f"{type(model).__name__} has hidden states of shape {tuple(state.shape)} "
            f"for {patches} patches and {registers} registers"
        )
    gradients = torch.autograd.grad(state.sum(), list(parameters.values()), allow_unused=True)
    used = frozenset(name for name, one in zip(parameters, gradients, strict=True) if one is not None)
    return HiddenState(index=index, image_size=size, leading=state.shape[1] - patches, parameters=used)


def options_of(model: Any, images: Tensor) -> dict[str, bool]:
    """Keyword arguments of the model's forward pass; some models interpolate position encodings only on request."""
    options = {"output_hidden_states": True}
    resized = images.shape[-1] != square_side(model.config.image_size)
    if resized and "interpolate_pos_encoding" in inspect.signature(model.forward).parameters:
        options["interpolate_pos_encoding"] = True
    return options


def square_side(size: int | list[int] | tuple[int, ...]) -> int:
    """The side of a square, which configs give as one number or as (height, width).

    Raises:
        ValueError: it is not a square.
    """
    if isinstance(size, int):
        return size
    if len(set(size)) != 1:
        raise ValueError(f"{tuple(size)} is not square")
    return size[0]
