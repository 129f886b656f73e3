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
from vtok.common.pretrained import Place, load
from vtok.common.setting_types import Count

log = logging.getLogger(__name__)

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
# Above the convolutions, which have the same names in both: torchvision's, and timm's two.
CLASSIFIERS = ("classifier.", "pre_logits.", "head.")
KINDS = ("weight", "bias")
HUB_ID = re.compile(r"[\w-][\w.-]*/[\w.-]+")
SUFFIXES = (".safetensors", ".pt", ".pth")
REPOSITORY_FILE = "model.safetensors"
WAY_OUT = (
    "set backbone.weights=PATH to a .safetensors, .pt or .pth file of torchvision's or timm's VGG19, or to a folder "
    f"that holds its {REPOSITORY_FILE}, or backbone.weights=null for random weights."
)
# Output channels and number of convolutions of each block; a pooling by 2 ends a block ("configuration E").
BLOCKS = ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4))


class Vgg19Backbone(Backbone):
    """VGG19 up to one named layer, that layer's output being the feature map.

    Layers are `conv{block}_{i}`, the convolution's output BEFORE its ReLU, `relu{block}_{i}`, the same after it, and
    `pool{block}`. Blocks 1 and 2 have 2 convolutions, blocks 3 to 5 have 4. Layers above the named one are not built.

    Args:
        weights: a `.safetensors`, `.pt` or `.pth` file with torchvision's or timm's keys (`features.0.weight`, ...),
            from the whole VGG19 (the classifier is ignored) or up to the named layer; or a folder or hub id with such
            a `model.safetensors` ("timm/vgg19.tv_in1k"). None: random weights.
        revision: branch, tag or commit on the hub.
        layer: name of the layer whose features are taken, such as conv4_4 (512 channels, stride 8).
        image_size: side of the images in pixels.
        frozen: whether no weight is trained.

    Raises:
        UserError: no such layer, images smaller than its stride, or a file that does not fit.
    """

    def __init__(
        self,
        weights: str | Path | None = None,
        *,
        revision: str | None = None,
        layer: str = "conv4_4",
        image_size: Count = 224,
        frozen: bool = True,
    ) -> None:
        modules, channels, stride = build(layers_up_to(layer))
        if image_size < stride:
            raise UserError(f"backbone.image_size={image_size}: {layer} needs {stride} pixels or more.")
        super().__init__(
            feature_dim=channels, image_size=image_size, stride=stride, mean=IMAGENET_MEAN, std=IMAGENET_STD
        )
        self.features = nn.Sequential(*modules)
        if weights is None:
            log.warning("backbone.weights=null: VGG19 has RANDOM weights, nothing is pretrained.")
        else:
            tensors = read(find_file(weights, revision), weights)
            load_state(self, tensors, weights)
        self.set_frozen(frozen)

    @classmethod
    def feature_shape(cls, settings: Mapping[str, Any]) -> FeatureShape | None:
        with torch.device("meta"):
            _, channels, stride = build(layers_up_to(settings["layer"]))
        return FeatureShape(channels=channels, size=settings["image_size"] // stride)

    def feature_map(self, images: Tensor) -> Tensor:
        """Normalised images (N, 3, S, S) -> (N, feature_dim, S / stride, S / stride)."""
        return self.features(images)


def layers_up_to(layer: str) -> list[str]:
    """The names of the layers from the first one to `layer`.

    Raises:
        UserError: there is no such layer.
    """
    names = layer_names()
    if layer not in names:
        raise UserError(
            f"backbone.layer={layer}: must be one of conv1_1 to conv5_4, relu1_1 to relu5_4 and pool1 to pool5 "
            "(blocks 1 and 2 have 2 convolutions, the others 4)."
        )
    return names[: names.index(layer) + 1]


def layer_names() -> list[str]:
    """Every layer in order; a layer's place in the list is its number in torchvision's `features`."""
    names = []
    for block, (_, convolutions) in enumerate(BLOCKS, start=1):
        for i in range(1, convolutions + 1):
            names += [f"conv{block}_{i}", f"relu{block}_{i}"]
        names.append(f"pool{block}")
    return names


def build(names: list[str]) -> tuple[list[nn.Module], int, int]:
    """The named layers from the bottom up, the channels of the last one and its stride in pixels."""
    modules: list[nn.Module] = []
    channels, stride = 3, 1
    for name in names:
        if name.startswith("conv"):
            width = BLOCKS[int(name[4]) - 1][0]
            convolution = nn.Conv2d(channels, width, kernel_size=3, padding=1)
            # As torchvision does: with torch's own initialisation the signal dies on its way up.
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
    """The weights file: itself, or that of a folder or of a repository on the hub.

    Raises:
        UserError: there is none.
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
    """The weights file of a folder, or of a repository of the hub or its cache.

    Raises:
        OSError: it holds none.
    """
    if Path(place.name).is_dir():
        file = Path(place.name) / REPOSITORY_FILE
        if not file.is_file():
            raise FileNotFoundError(f"{REPOSITORY_FILE} is not there")
        return file
    return Path(hf_hub_download(place.name, REPOSITORY_FILE, revision=place.revision, local_files_only=place.offline))


def read(path: Path, file: str | Path) -> dict[str, Tensor]:
    """The tensors of a weights file by name; nothing is unpickled but tensors. `file`: what the user says of it."""
    if path.suffix not in SUFFIXES:
        raise UserError(
            f"backbone.weights={file}: VGG19 takes a .safetensors, .pt or .pth file, or null for random weights."
        )
    if not path.is_file():
        raise UserError(f"backbone.weights={file}: no such file; give a local file, or null for random weights.")
    try:
        tensors = load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
    except (SafetensorError, UnpicklingError, RuntimeError, EOFError) as error:
        raise UserError(
            f"backbone.weights={file}: not a file of tensors ({type(error).__name__}); "
            "save VGG19's state dict, not the model itself."
        ) from error
    if not isinstance(tensors, dict) or not all(isinstance(value, Tensor) for value in tensors.values()):
        raise UserError(f"backbone.weights={file}: holds no state dict, that is a dictionary of names and tensors.")
    return tensors


def load_state(model: nn.Module, tensors: dict[str, Tensor], file: str | Path) -> None:
    """Give a model those of a VGG19's tensors that it has; what is above its last layer, and the classifier, is left.

    Raises:
        UserError: a tensor is missing, of another shape, or of no VGG19.
    """
    fault = f"backbone.weights={file}: not torchvision's or timm's VGG19"
    try:
        found = model.load_state_dict(tensors, strict=False)
    except RuntimeError as error:
        # Its first line names the class alone, and each of the next a tensor of another shape.
        raise UserError(f"{fault}, {str(error).splitlines()[1].strip().rstrip('.')}.") from error
    known = {f"features.{i}.{kind}" for i, n in enumerate(layer_names()) if n[:4] == "conv" for kind in KINDS}
    unexpected = [key for key in found.unexpected_keys if key not in known and not key.startswith(CLASSIFIERS)]
    for problem, keys in (("unexpected", unexpected), ("missing", found.missing_keys)):
        if keys:
            raise UserError(f"{fault}, {len(keys)} keys are {problem} (first {min(keys)}).")
