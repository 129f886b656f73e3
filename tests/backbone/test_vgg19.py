import logging
import socket
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from vtok.backbone import Vgg19Backbone
from vtok.common.errors import UserError

# torchvision.models.vgg19().features: number of the convolution -> (in, out) channels.
CONVOLUTIONS = {
    0: (3, 64),
    2: (64, 64),
    5: (64, 128),
    7: (128, 128),
    10: (128, 256),
    12: (256, 256),
    14: (256, 256),
    16: (256, 256),
    19: (256, 512),
    21: (512, 512),
    23: (512, 512),
    25: (512, 512),
    28: (512, 512),
    30: (512, 512),
    32: (512, 512),
    34: (512, 512),
}
POOLINGS = (4, 9, 18, 27, 36)
MEAN = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
STD = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)


@pytest.fixture(scope="module")
def torchvision_weights() -> dict[str, Tensor]:
    """A state dict with torchvision's names and shapes, with small tensors for the classifier, which is not read."""
    generator = torch.Generator().manual_seed(0)
    tensors = {}
    for number, (inputs, outputs) in CONVOLUTIONS.items():
        weight = torch.randn(outputs, inputs, 3, 3, generator=generator)
        tensors[f"features.{number}.weight"] = weight * (2 / (9 * inputs)) ** 0.5
        tensors[f"features.{number}.bias"] = torch.randn(outputs, generator=generator) * 0.1
    for number in (0, 3, 6):
        tensors[f"classifier.{number}.weight"] = torch.zeros(2, 2)
        tensors[f"classifier.{number}.bias"] = torch.zeros(2)
    return tensors


@pytest.fixture(scope="module")
def weights_file(torchvision_weights: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("vgg19") / "vgg19.safetensors"
    save_file(torchvision_weights, file)
    return file


def chain(weights: dict[str, Tensor], frames: Tensor, last: int) -> Tensor:
    """The output of torchvision's `features[last]`, by torch's functions."""
    x = (frames - MEAN) / STD
    for number in range(last + 1):
        if number in CONVOLUTIONS:
            x = F.conv2d(x, weights[f"features.{number}.weight"], weights[f"features.{number}.bias"], padding=1)
        elif number in POOLINGS:
            x = F.max_pool2d(x, 2)
        else:
            x = F.relu(x)
    return x


@pytest.mark.parametrize(
    ("layer", "last", "shape"),
    [
        ("conv4_4", 25, (512, 4, 4)),
        ("relu4_4", 26, (512, 4, 4)),
        ("pool4", 27, (512, 2, 2)),
        ("conv1_1", 0, (64, 32, 32)),
        ("conv5_4", 34, (512, 2, 2)),
    ],
)
def test_equals_the_layers_of_torchvision(
    torchvision_weights: dict[str, Tensor], weights_file: Path, layer: str, last: int, shape: tuple[int, ...]
):
    frames = torch.rand(1, 3, 32, 32)
    backbone = Vgg19Backbone(weights_file, layer=layer, image_size=32)
    features = backbone(frames)
    assert features.shape == (1, *shape)
    assert features.is_contiguous(memory_format=torch.channels_last)
    assert (backbone.feature_dim, backbone.feature_size) == shape[:2]
    torch.testing.assert_close(features, chain(torchvision_weights, frames, last))


def test_default_is_conv4_4_before_its_relu(caplog: pytest.LogCaptureFixture):
    with torch.device("meta"), caplog.at_level(logging.WARNING):
        backbone = Vgg19Backbone(weights=None)
        assert backbone(torch.zeros(1, 3, 224, 224)).shape == (1, 512, 28, 28)
    assert isinstance(backbone.features[-1], torch.nn.Conv2d)
    assert len(backbone.features) == 26
    assert backbone.frozen
    assert "RANDOM weights" in caplog.text


def test_on_the_meta_device_the_default_weights_are_not_read(caplog: pytest.LogCaptureFixture):
    with torch.device("meta"), caplog.at_level(logging.WARNING):
        assert Vgg19Backbone(layer="pool1").feature_dim == 64
    assert "RANDOM weights" not in caplog.text


def test_state_dict_keys_are_torchvisions(torchvision_weights: dict[str, Tensor]):
    with torch.device("meta"):
        tensors = Vgg19Backbone(weights=None, layer="pool5").state_dict()
    wanted = {key: value.shape for key, value in torchvision_weights.items() if key.startswith("features.")}
    assert {key: value.shape for key, value in tensors.items()} == wanted


def test_pt_file_and_its_own_state_dict(torchvision_weights: dict[str, Tensor], weights_file: Path, tmp_path: Path):
    first = Vgg19Backbone(weights_file, layer="conv2_1", image_size=16)
    torch.save(first.state_dict(), tmp_path / "vgg19.pth")
    second = Vgg19Backbone(str(tmp_path / "vgg19.pth"), layer="conv2_1", image_size=16)
    frames = torch.rand(1, 3, 16, 16)
    assert torch.equal(first(frames), second(frames))


def test_timms_checkpoint_in_a_folder_or_a_file_is_the_same(
    torchvision_weights: dict[str, Tensor], weights_file: Path, tmp_path: Path
):
    """timm keeps the names of the convolutions; its classifier is `pre_logits` and `head`."""
    tensors = {key: value for key, value in torchvision_weights.items() if key.startswith("features.")}
    for name in ("pre_logits.fc1", "pre_logits.fc2", "head.fc"):
        tensors |= {f"{name}.weight": torch.zeros(2, 2), f"{name}.bias": torch.zeros(2)}
    save_file(tensors, tmp_path / "model.safetensors")
    frames = torch.rand(1, 3, 16, 16)
    wanted = Vgg19Backbone(weights_file, layer="conv3_1", image_size=16)(frames)
    for weights in (tmp_path, tmp_path / "model.safetensors"):
        assert torch.equal(Vgg19Backbone(weights, layer="conv3_1", image_size=16)(frames), wanted)


def test_a_folder_or_hub_repository_without_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(*_args: object, **_options: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    for weights, message in ((tmp_path, "the folder holds no VGG19"), ("vtok-tests/vgg19", "cannot be reached")):
        with pytest.raises(UserError, match=rf"backbone\.weights=.*{message}.*backbone\.weights=null"):
            Vgg19Backbone(weights)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features.1.weight": torch.zeros(1)}, "1 keys are unexpected, such as features.1.weight"),
        ({"features.2.bias": None}, "1 keys are missing, such as features.2.bias"),
        ({"features.0.weight": torch.zeros(64, 1, 3, 3)}, r"features.0.weight: .*\[64, 1, 3, 3\]"),
    ],
)
def test_weights_of_another_model_are_refused(
    torchvision_weights: dict[str, Tensor], tmp_path: Path, change: dict[str, Tensor | None], message: str
):
    small = {key: value for key, value in torchvision_weights.items() if key.split(".")[1] in ("0", "2")}
    tensors = {key: value for key, value in {**small, **change}.items() if value is not None}
    torch.save(tensors, tmp_path / "other.pt")
    with pytest.raises(UserError, match=rf"is not torchvision's or timm's VGG19: .*{message}.*Use the state dict"):
        Vgg19Backbone(tmp_path / "other.pt", layer="relu1_2")


def test_pickled_objects_are_refused(tmp_path: Path):
    torch.save(torch.nn.Linear(2, 2), tmp_path / "model.pt")
    with pytest.raises(UserError, match="Save the state dict of VGG19"):
        Vgg19Backbone(tmp_path / "model.pt")


@pytest.mark.parametrize("name", ["broken.safetensors", "broken.pt", "empty.pth"])
def test_a_broken_file_is_refused(tmp_path: Path, name: str):
    (tmp_path / name).write_bytes(b"" if name.startswith("empty") else b"not a tensor")
    with pytest.raises(UserError, match="not a file of tensors"):
        Vgg19Backbone(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "message"), [("absent.pt", "does not exist"), ("vgg19.bin", r"\.safetensors, \.pt or \.pth")]
)
def test_a_missing_file_and_another_format_are_refused(tmp_path: Path, name: str, message: str):
    with pytest.raises(UserError, match=message):
        Vgg19Backbone(tmp_path / name)


def test_a_layer_that_vgg19_lacks_is_refused():
    with pytest.raises(UserError, match=r"backbone\.layer=conv4_5 is not a layer .*Use conv1_1 to conv5_4"):
        Vgg19Backbone(layer="conv4_5")


def test_images_smaller_than_the_stride_are_refused():
    with pytest.raises(UserError, match=r"backbone\.image_size=4 is smaller .*conv4_4\. Use 8 or more"):
        Vgg19Backbone(image_size=4)
