import pytest
import torch

from vtok.backbone import TinyBackbone
from vtok.common.errors import UserError


def test_shapes():
    backbone = TinyBackbone(feature_dim=96, image_size=64)
    features = backbone(torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8))
    assert features.shape == (2, 96, 8, 8)
    assert (backbone.feature_dim, backbone.image_size, backbone.feature_size) == (96, 64, 8)
    assert not backbone.frozen
    assert TinyBackbone(feature_dim=12, image_size=32, width=8)(torch.rand(1, 3, 70, 50)).shape == (1, 12, 4, 4)


def test_every_parameter_is_trained():
    backbone = TinyBackbone(width=8)
    backbone(torch.rand(2, 3, 64, 64)).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in backbone.parameters())


def test_the_mean_feature_depends_on_the_position_of_a_shape():
    frames = torch.zeros(2, 3, 64, 64)
    frames[0, :, 28:36, 12:20] = 1
    frames[1, :, 28:36, 44:52] = 1
    left, right = TinyBackbone().eval()(frames).mean(dim=(2, 3))
    assert (left - right).abs().max() > 1e-3


def test_coordinates_reach_from_corner_to_corner():
    coordinates = TinyBackbone(image_size=16).coordinates
    assert coordinates[:, 0, 0].tolist() == [-1, -1]
    assert coordinates[:, 0, -1].tolist() == [1, -1]
    assert coordinates[:, -1, 0].tolist() == [-1, 1]


@pytest.mark.parametrize(("name", "value"), [("image_size", 60), ("image_size", 0), ("width", 12)])
def test_sizes_that_are_not_multiples_of_8_are_refused(name: str, value: int):
    with pytest.raises(UserError, match=rf"backbone\.{name}={value}.*multiple of 8"):
        TinyBackbone(**{name: value})


def test_all_of_it_is_made_on_one_device_while_linspace_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    # As transformers does while it loads a model.
    linspace = torch.linspace
    monkeypatch.setattr(torch, "linspace", lambda *given, **named: linspace(*given, **({"device": "cpu"} | named)))
    with torch.device("meta"):
        assert TinyBackbone().coordinates.is_meta
