"""VGG19's convolutions as a backbone (Simonyan and Zisserman 2014), with torchvision's or timm's state dict."""

import logging
import re
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from huggingface_hub import hf_hub_download
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from vtok.backbone.base import Backbone, FeatureShape
from vtok.common.errors import UserError
from vtok.common.paths import user_path
from vtok.common.pretrained import Place, load, only_shapes
from vtok.common.setting_types import Count

log = logging.getLogger(__name__)

WEIGHTS = "timm/vgg19.tv_in1k"
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
# Names of the layers after the convolutions: torchvision's one and timm's two. The convolutions have the same names.
CLASSIFIERS = ("classifier.", "pre_logits.", "head.")
KINDS = ("weight", "bias")
HUB_ID = re.compile(r"[\w-][\w.-]*/[\w.-]+")
SUFFIXES = (".safetensors", ".pt", ".pth")
REPOSITORY_FILE = "model.safetensors"
WAY_OUT = (
    "Set backbone.weights=PATH to a .safetensors, .pt or .pth file of torchvision's or timm's VGG19, or to a folder "
    f"that holds its {REPOSITORY_FILE}, or backbone.weights=null for random weights."
)
# Output channels and number of convolutions of each block, which ends with a pooling by 2 ("configuration E").
BLOCKS = ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4))


class Vgg19Backbone(Backbone):
    """VGG19 up to a named layer, whose output is the feature map.

    Layers are `conv{block}_{i}` (the output of a convolution BEFORE its ReLU), `relu{block}_{i}` (after it) and
    `pool{block}`. Blocks 1 and 2 have 2 convolutions, blocks 3 to 5 have 4. Layers above the named one are not built.

    Args:
        weights: a `.safetensors`, `.pt` or `.pth` file with torchvision's or timm's keys (`features.0.weight`, ...) for
            the full VGG19 (the classifier is ignored) or up to the named layer; or a folder or hub id with such a
            `model.safetensors`. None: random weights.
        revision: branch, tag or commit on the hub.
        layer: name of the layer whose output is the feature map, such as conv4_4 (512 channels, stride 8).
        image_size: side of the images in pixels.

    Raises:
        UserError: the layer does not exist, images are smaller than its stride, or the file is not a VGG19.
    """

    def __init__(
        self,
        weights: str | Path | None = WEIGHTS,
        *,
        revision: str | None = None,
        layer: str = "conv4_4",
        image_size: Count = 224,
        frozen: bool = True,
        map_size: Count | None = None,
    ) -> None:
        modules, channels, stride = build_layers(layers_up_to(layer))
        if image_size < stride:
            raise UserError(
                f"backbone.image_size={image_size} is smaller than the stride of {layer}. Use {stride} or more."
            )
        super().__init__(
            feature_dim=channels,
            image_size=image_size,
            stride=stride,
            mean=IMAGENET_MEAN,
            std=IMAGENET_STD,
            map_size=map_size,
        )
        self.features = nn.Sequential(*modules)
        if weights is None:
            log.warning("backbone.weights=null: VGG19 has RANDOM weights, nothing is pretrained.")
        elif not only_shapes():
            tensors = read_tensors(find_file(weights, revision), weights)
            load_state(self, tensors, weights)
        # The order in memory of fast convolutions: on a CPU this takes 14 % less time, and bf16 on a GPU wants it.
        self.features.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.set_frozen(frozen)

    @classmethod
    def feature_shape(cls, settings: Mapping[str, Any]) -> FeatureShape | None:
        with torch.device("meta"):
            _, channels, stride = build_layers(layers_up_to(settings["layer"]))
        return FeatureShape(channels=channels, size=settings.get("map_size") or settings["image_size"] // stride)

    def feature_map(self, images: Tensor) -> Tensor:
        """Normalised images (N, 3, S, S) -> (N, feature_dim, S / stride, S / stride)."""
        return self.features(images.contiguous(memory_format=torch.channels_last))


def layers_up_to(layer: str) -> list[str]:
    """The names of the layers from the first one to `layer`.

    Raises:
        UserError: VGG19 has no such layer.
    """
    names = layer_names()
    if layer not in names:
        raise UserError(
            f"backbone.layer={layer} is not a layer of VGG19. Blocks 1 and 2 have 2 convolutions, blocks 3 to 5 have "
            "4. Use conv1_1 to conv5_4, relu1_1 to relu5_4 or pool1 to pool5."
        )
    return names[: names.index(layer) + 1]


def layer_names() -> list[str]:
    """All layers in order; the index of a layer is its index in torchvision's `features`."""
    names = []
    for block, (_, convolutions) in enumerate(BLOCKS, start=1):
        for i in range(1, convolutions + 1):
            names += [f"conv{block}_{i}", f"relu{block}_{i}"]
        names.append(f"pool{block}")
    return names


def build_layers(names: list[str]) -> tuple[list[nn.Module], int, int]:
    """The named layers from the bottom up, and the channels and the stride in pixels of the last one."""
    modules: list[nn.Module] = []
    channels, stride = 3, 1
    for name in names:
        if name.startswith("conv"):
            width = BLOCKS[int(name[4]) - 1][0]
            convolution = nn.Conv2d(channels, width, kernel_size=3, padding=1)
            # torchvision's initialisation: with torch's default, activations vanish in the upper layers.
            nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
            modules.append(convolution)
            channels = width
        elif name.startswith("relu"):
            modules.append(nn.ReLU(inplace=True))
        else:
            modules.append(nn.MaxPool2d(kernel_size=2))
            stride *= 2
    return modules, channels, stride


def find_file(weights: str | Path, revision: str | None) -> Path:
    """The weights file that a path, a folder or a hub id stands for.

    Raises:
        UserError: the folder or repository has no weights file.
    """
    path = user_path(weights)
    if path.is_dir() or (HUB_ID.fullmatch(str(weights)) and path.suffix not in SUFFIXES):
        return load(
            str(weights),
            in_repository,
            key="backbone.weights",
            kind="VGG19",
            way_out=WAY_OUT,
            revision=revision,
            probe=REPOSITORY_FILE,
        )
    return path


def in_repository(place: Place) -> Path:
    """The weights file in a folder, in a repository on the hub, or in the local cache.

    Raises:
        OSError: there is none.
    """
    if Path(place.name).is_dir():
        file = Path(place.name) / REPOSITORY_FILE
        if not file.is_file():
            raise FileNotFoundError(f"it has no {REPOSITORY_FILE}")
        return file
    return Path(hf_hub_download(place.name, REPOSITORY_FILE, revision=place.revision, local_files_only=place.offline))


def read_tensors(path: Path, given: str | Path) -> dict[str, Tensor]:
    """The tensors of a weights file by name; only tensors are unpickled. `given`: the path as the user wrote it."""
    if path.suffix not in SUFFIXES:
        raise UserError(
            f"backbone.weights={given} is not a file of weights. "
            "Use a .safetensors, .pt or .pth file, or null for random weights."
        )
    if not path.is_file():
        raise UserError(f"backbone.weights={given} does not exist. Give a local file, or null for random weights.")
    try:
        tensors = load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
    except (SafetensorError, UnpicklingError, RuntimeError, EOFError) as error:
        raise UserError(
            f"backbone.weights={given} is not a file of tensors ({type(error).__name__}). "
            "Save the state dict of VGG19, not the model itself."
        ) from error
    if not isinstance(tensors, dict) or not all(isinstance(value, Tensor) for value in tensors.values()):
        raise UserError(
            f"backbone.weights={given} has no state dict (a dictionary of tensors by name). "
            "Save the state dict of VGG19."
        )
    return tensors


def load_state(model: nn.Module, tensors: dict[str, Tensor], given: str | Path) -> None:
    """Load the tensors of a VGG19 that the model has; the classifier and the layers above its last one are ignored.

    Raises:
        UserError: a tensor is missing, has another shape, or does not belong to a VGG19.
    """
    try:
        found = model.load_state_dict(tensors, strict=False)
    except RuntimeError as error:
        # The first line names the class only. Each further line names a tensor of another shape.
        raise other_model(given, str(error).splitlines()[1].strip().rstrip(".")) from error
    known = {f"features.{i}.{kind}" for i, n in enumerate(layer_names()) if n[:4] == "conv" for kind in KINDS}
    unexpected = [key for key in found.unexpected_keys if key not in known and not key.startswith(CLASSIFIERS)]
    for problem, keys in (("unexpected", unexpected), ("missing", found.missing_keys)):
        if keys:
            raise other_model(given, f"{len(keys)} keys are {problem}, such as {min(keys)}")


def other_model(given: str | Path, reason: str) -> UserError:
    return UserError(
        f"backbone.weights={given} is not torchvision's or timm's VGG19: {reason}. "
        "Use the state dict of one of the two, or null for random weights."
    )
