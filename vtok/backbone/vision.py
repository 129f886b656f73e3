"""Any vision transformer that transformers has (DINOv2, DINOv3, SigLIP, SigLIP 2, ViT, CLIP, ...) as a backbone."""

import inspect
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

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
    "set backbone.weights=PATH to a local folder that holds a vision model of transformers (config.json and "
    "model.safetensors as `save_pretrained` writes them, preprocessor_config.json beside them), or "
    "backbone.weights=null for random weights."
)
# Tokens before the patches and the registers: none, a CLS, a CLS and a distillation token (DeiT).
LEADING = (0, 1, 2)


@dataclass(frozen=True)
class Vision:
    """A vision model with what its files say of it.

    Attributes:
        model: of transformers, `hidden_states` among its outputs.
        mean, std: of the red, green and blue values in 0..1 that it was trained on.
    """

    model: Any
    mean: list[float]
    std: list[float]


@dataclass(frozen=True)
class Tap:
    """A hidden state of a model.

    Attributes:
        index: in `hidden_states`, 0 or more.
        image_size: side in pixels of the images.
        leading: tokens before those of the patches.
        reached: names of the parameters that the hidden state depends on.
    """

    index: int
    image_size: int
    leading: int
    reached: frozenset[str]


class VisionBackbone(Backbone):
    """The patch tokens of one hidden state of a vision transformer, as a feature map.

    Of a model of images and texts (CLIP, SigLIP) only the vision half is loaded. Tokens that stand for no patch (CLS,
    registers) are dropped. Images are scaled bicubically until the short side fits and cropped in the centre, whatever
    the model's own processor does; its mean and standard deviation are taken from `preprocessor_config.json`.

    Args:
        weights: hub id or local folder of a transformers model. A hub id is looked up in the local cache first. None:
            the architecture of facebook/dinov2-large with random weights.
        revision: branch, tag or commit on the hub.
        layer: index into transformers' `hidden_states` of that model: 0 is the embedded image, n the output of layer n,
            -1 the last. Layers above are not kept but for one.
        image_size: side of the images in pixels; None: the model's own. The model has to interpolate its position
            encodings for another one.
        dtype: number format of the weights and of the feature map.
        frozen: train nothing. Where False, what the hidden state does not depend on (pooling, last norm) stays frozen.

    Raises:
        UserError: the weights cannot be had or are of no vision transformer, or an argument lies outside of what is
            allowed.
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
    ) -> None:
        precision = dtype_of(dtype, key="backbone.dtype")
        if weights is None:
            vision = build_random(precision)
            tap = find_tap(vision.model, layer, image_size)
        else:
            vision, tap = load(
                str(weights),
                partial(pretrained, dtype=precision, layer=layer, image_size=image_size),
                key="backbone.weights",
                kind=KIND,
                way_out=WAY_OUT,
                revision=revision,
            )
        config = vision.model.config
        super().__init__(
            feature_dim=config.hidden_size,
            image_size=tap.image_size,
            stride=side(config.patch_size),
            mean=vision.mean,
            std=vision.std,
        )
        cut(vision.model, tap.index)
        self.tap, self.depth = tap, tap.index
        self.model = vision.model
        self.set_frozen(frozen)

    def set_frozen(self, frozen: bool) -> None:
        """Freeze all parameters, or train those that the feature map depends on."""
        super().set_frozen(frozen)
        for name, parameter in self.model.named_parameters():
            parameter.requires_grad_(not frozen and name in self.tap.reached)

    @classmethod
    def feature_shape(cls, settings: Mapping[str, Any]) -> FeatureShape | None:
        """Known of the default weights and of random ones, which are DINOv2-L's."""
        if settings["weights"] not in (None, WEIGHTS):
            return None
        return FeatureShape(channels=1024, size=(settings["image_size"] or 518) // 14)

    def feature_map(self, images: Tensor) -> Tensor:
        """Normalised images (N, 3, S, S) -> (N, feature_dim, S / patch, S / patch)."""
        images = images.to(next(self.model.parameters()).dtype)
        state = hidden_states(self.model, images)[self.tap.index]
        patches = state[:, self.tap.leading :]
        return patches.transpose(1, 2).unflatten(2, (self.feature_size, self.feature_size))


def pretrained(place: Place, *, dtype: torch.dtype, layer: int, image_size: int | None) -> tuple[Vision, Tap]:
    """transformers' own loading, and the hidden state that is asked for.

    Raises:
        UserError: there is no such hidden state.
        ValueError, OSError: a file is missing, or is of no vision transformer.
    """
    from transformers import AutoModel

    config = read_config(place)
    # A half by itself: the text half is neither read nor kept.
    config = getattr(config, "vision_config", config)
    mean, std = normalisation(place)
    if only_shapes():
        vision = Vision(AutoModel.from_config(config, dtype=dtype, trust_remote_code=False), mean, std)
        return vision, find_tap(vision.model, layer, image_size)
    model, missing = read_model(AutoModel, place, dtype=dtype, config=config)
    tap = find_tap(model, layer, image_size)
    refuse_missing([name for name in missing if name in tap.reached], KIND)
    return Vision(model, mean, std), tap


def normalisation(place: Place) -> tuple[list[float], list[float]]:
    """Mean and standard deviation as the image processor's file says; read as JSON, for processors need torchvision.

    Raises:
        OSError: there is no such file, or it does not say.
    """
    from transformers.models.auto.image_processing_auto import get_image_processor_config

    settings = get_image_processor_config(place.name, revision=place.revision, local_files_only=place.offline)
    if settings.get("do_normalize") is False:
        return [0.0] * 3, [1.0] * 3
    try:
        return list(settings["image_mean"]), list(settings["image_std"])
    except (KeyError, TypeError) as error:
        raise OSError("preprocessor_config.json with image_mean and image_std is not there") from error


def build_random(dtype: torch.dtype) -> Vision:
    """The architecture of facebook/dinov2-large, untrained."""
    log.warning("backbone.weights=null: DINOv2-L/14 has RANDOM weights, nothing is pretrained.")
    from transformers import AutoModel, Dinov2Config
    from transformers.utils.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

    config = Dinov2Config(hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, image_size=518, patch_size=14)
    model = AutoModel.from_config(config, dtype=dtype)
    return Vision(model, IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD)


def find_tap(model: Any, layer: int, image_size: int | None) -> Tap:
    """What a hidden state consists of, found by running the model without data.

    Raises:
        UserError: no such layer, or images of a size that the model does not take.
        ValueError: not a vision transformer over square images.
    """
    try:
        own, patch = side(model.config.image_size), side(model.config.patch_size)
        registers = getattr(model.config, "num_register_tokens", 0) or 0
    except AttributeError as error:
        raise ValueError(f"{type(model).__name__} is no {KIND}: {error}") from error
    size = own if image_size is None else image_size
    if size < patch:
        raise UserError(f"backbone.image_size={size}: this model takes {patch} pixels or more.")
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
                f"backbone.image_size={size}: {type(model).__name__} takes images of its own size alone; "
                f"say backbone.image_size={own} or null ({reason})."
            ) from error
        raise ValueError(f"{type(model).__name__} does not run on images of {size} pixels: {reason}") from error
    if not states:
        raise ValueError(f"{type(model).__name__} shows no hidden states")
    count = len(states) - 1
    if not -count - 1 <= layer <= count:
        raise UserError(
            f"backbone.layer={layer}: this {type(model).__name__} has {count} layers, "
            f"allowed are {-count - 1} to {count} (-1 is the output of the last)."
        )
    index = layer if layer >= 0 else layer + count + 1
    state, patches = states[index], (size // patch) ** 2
    if state.dim() != 3 or state.shape[1] - patches - registers not in LEADING:
        raise ValueError(
            f"{type(model).__name__} has hidden states of shape {tuple(state.shape)} "
            f"for {patches} patches and {registers} registers"
        )
    gradients = torch.autograd.grad(state.sum(), list(parameters.values()), allow_unused=True)
    reached = frozenset(name for name, one in zip(parameters, gradients, strict=True) if one is not None)
    return Tap(index=index, image_size=size, leading=state.shape[1] - patches, reached=reached)


def hidden_states(model: Any, images: Tensor) -> tuple[Tensor, ...]:
    """All of them, of images (N, 3, S, S)."""
    return model(images, **options_of(model, images)).hidden_states


def options_of(model: Any, images: Tensor) -> dict[str, bool]:
    """How the model is called: models that do not interpolate unasked are asked where the size is not their own."""
    options = {"output_hidden_states": True}
    resized = images.shape[-1] != side(model.config.image_size)
    if resized and "interpolate_pos_encoding" in inspect.signature(model.forward).parameters:
        options["interpolate_pos_encoding"] = True
    return options


def cut(model: Any, index: int) -> None:
    """Drop the layers above a hidden state but for one: transformers norms the last hidden state of some models."""
    count = model.config.num_hidden_layers
    lists = [one for one in model.modules() if isinstance(one, nn.ModuleList) and len(one) == count]
    if len(lists) == 1 and index + 1 < count:
        del lists[0][index + 1 :]
        model.config.num_hidden_layers = index + 1


def side(size: int | list[int] | tuple[int, ...]) -> int:
    """Of a square.

    Raises:
        ValueError: it is none.
    """
    if isinstance(size, int):
        return size
    if len(set(size)) != 1:
        raise ValueError(f"{tuple(size)} is no square, and backbones take squares alone")
    return size[0]
