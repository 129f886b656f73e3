import pytest
import torch

from vtok.backbone import PixelsBackbone
from vtok.backbone.base import FeatureShape
from vtok.common.errors import UserError


def test_each_place_has_the_pixels_of_its_patch() -> None:
    backbone = PixelsBackbone(image_size=12, patch_size=4)
    frames = torch.randint(0, 256, (2, 3, 12, 12), dtype=torch.uint8)
    maps = backbone(frames)
    assert maps.shape == (2, 48, 3, 3)
    patch = frames[1, :, 4:8, 8:12].float() / 127.5 - 1
    torch.testing.assert_close(maps[1, :, 1, 2].view(3, 4, 4), patch)
    assert (backbone.feature_dim, backbone.own_map_size, backbone.frozen) == (48, 3, True)
    settings = {"image_size": 12, "patch_size": 4, "map_size": None}
    assert PixelsBackbone.feature_shape(settings) == FeatureShape(48, 3)


def test_an_image_that_patches_do_not_fill_is_refused() -> None:
    with pytest.raises(
        UserError, match=r"backbone\.image_size=30 is not a multiple of backbone\.patch_size=8\. Use 24"
    ):
        PixelsBackbone(image_size=30)


def test_it_has_nothing_to_train() -> None:
    with pytest.raises(UserError, match=r"backbone\.frozen=false: pixels have no weights to train"):
        PixelsBackbone(frozen=False)
