"""CLIP's vision transformer as a backbone (Radford et al. 2021), through transformers."""

import logging
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import get_hf_file_metadata, hf_hub_url

# HTTPError is the base of what huggingface_hub's HTTP library raises; that library changes between its releases.
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, HTTPError
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModel
from transformers.utils.constants import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

from vtok.backbone.base import Backbone
from vtok.errors import UserError

log = logging.getLogger(__name__)

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
HUB_TIMEOUT = 5.0
RANDOM_PATCH = 14
WAY_OUT = (
    "set backbone.weights=PATH to a local folder that holds a CLIP model, or backbone.weights=null for random weights."
)


class ClipBackbone(Backbone):
    """The patch tokens of one layer of a CLIP vision transformer, as a feature map.

    Args:
        weights: hub id or local folder of a CLIP model, whole (`CLIPModel`) or its vision half (`CLIPVisionModel`). A
            hub id is looked up in the local cache first. None: the architecture of CLIP-L/14 at 336 pixels with random
            weights.
        layer: index into transformers' `hidden_states`: 0 is the embedded image, n the output of layer n, -1 that of
            the last layer, before the final layer norm. Layers above it are neither kept nor run.
        frozen: train nothing.
        revision: branch, tag or commit on the hub.
        dtype: of the weights and of the feature map: "float32", "bfloat16" or "float16".
        image_size: side of the images in pixels where `weights` is None; a model's own size is read from its config.

    Raises:
        UserError: the weights cannot be had or are not CLIP's, or an argument lies outside of what is allowed.
    """

    def __init__(
        self,
        weights: str | Path | None = "openai/clip-vit-large-patch14-336",
        *,
        layer: int = -1,
        frozen: bool = True,
        revision: str | None = None,
        dtype: str = "float32",
        image_size: int = 336,
    ) -> None:
        if dtype not in DTYPES:
            raise UserError(f"backbone.dtype={dtype}: allowed are {', '.join(DTYPES)}.")
        if weights is None:
            model = build_random(image_size, dtype=DTYPES[dtype])
        else:
            model = load(str(weights), revision=revision, dtype=DTYPES[dtype])
        config: Any = model.config
        super().__init__(
            feature_dim=config.hidden_size,
            image_size=config.image_size,
            stride=config.patch_size,
            mean=OPENAI_CLIP_MEAN,
            std=OPENAI_CLIP_STD,
        )
        cut(model, layer)
        self.vision_model = model
        self.set_frozen(frozen)

    def feature_map(self, images: Tensor) -> Tensor:
        """Normalised images (N, 3, S, S) -> (N, feature_dim, S / patch, S / patch)."""
        tokens = self.vision_model(images).last_hidden_state
        patches = tokens[:, 1:]  # the first token is CLS
        return patches.transpose(1, 2).unflatten(2, (self.feature_size, self.feature_size))


def cut(model: CLIPVisionModel, layer: int) -> None:
    """Make `hidden_states[layer]` the model's last hidden state: drop what comes after it."""
    count = len(model.encoder.layers)
    if not -count - 1 <= layer <= count:
        raise UserError(
            f"backbone.layer={layer}: this CLIP has {count} layers, allowed are {-count - 1} to {count} "
            "(-1 is the output of the last)."
        )
    kept = layer if layer >= 0 else layer + count + 1
    del model.encoder.layers[kept:]
    model.config.num_hidden_layers = kept
    # It norms the CLS token alone; its parameters would never receive a gradient.
    model.add_module("post_layernorm", nn.Identity())


def build_random(image_size: int, *, dtype: torch.dtype) -> CLIPVisionModel:
    """The architecture of openai/clip-vit-large-patch14-336, untrained."""
    if image_size < RANDOM_PATCH:
        raise UserError(f"backbone.image_size={image_size}: CLIP-L/14 takes {RANDOM_PATCH} pixels or more.")
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


def load(weights: str, *, revision: str | None, dtype: torch.dtype) -> CLIPVisionModel:
    """A pretrained vision model from a local folder, else the local cache of the hub, else the hub.

    Raises:
        UserError: it is in none of them, or is not a CLIP model.
    """
    folder = Path(weights).expanduser()
    if folder.is_dir():
        try:
            return pretrained(str(folder), revision=None, dtype=dtype, offline=True)
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            raise UserError(
                f"backbone.weights={weights}: the folder holds no CLIP model that can be read ({first_line(error)}); "
                "it needs config.json and model.safetensors as `save_pretrained` writes them."
            ) from error
    try:
        return pretrained(weights, revision=revision, dtype=dtype, offline=True)
    except (OSError, ValueError):
        check_on_hub(weights, revision=revision)
    return pretrained(weights, revision=revision, dtype=dtype, offline=False)


def pretrained(name: str, *, revision: str | None, dtype: torch.dtype, offline: bool) -> CLIPVisionModel:
    """transformers' own loading, with parameters that the files do not hold made an error instead of random numbers."""
    loaded: Any = CLIPVisionModel.from_pretrained(
        name,
        revision=revision or "main",
        dtype=dtype,
        local_files_only=offline,
        output_loading_info=True,
    )
    model, report = loaded
    if report["missing_keys"]:
        missing = sorted(report["missing_keys"])
        raise UserError(
            f"backbone.weights={name}: not a CLIP vision model, {len(missing)} of its parameters are missing "
            f"(the first: {missing[0]}); {WAY_OUT}"
        )
    return model


def check_on_hub(weights: str, *, revision: str | None) -> None:
    """Ask the hub once for the model: its client would retry for more than 20 seconds without a network.

    Raises:
        UserError: no such model, or no answer within HUB_TIMEOUT seconds.
    """
    try:
        get_hf_file_metadata(hf_hub_url(weights, "config.json", revision=revision), timeout=HUB_TIMEOUT)
    except HfHubHTTPError as error:
        reason = f"the hub refuses it ({type(error).__name__})"
    except HFValidationError:
        reason = "it is no hub id either"
    except (HTTPError, OSError) as error:
        reason = f"it is not in the local cache and the hub cannot be reached ({type(error).__name__})"
    else:
        return
    raise UserError(f"backbone.weights={weights}: no such folder, and {reason}; {WAY_OUT}")


def first_line(error: Exception) -> str:
    """What went wrong, without the advice that libraries add on further lines."""
    return str(error).strip().partition("\n")[0].rstrip(".")
