import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from vtok.backbone.base import Backbone, resize_and_crop


class Identity(Backbone):
    """Returns its normalised images. It has one parameter, and a dropout that eval mode switches off."""

    def __init__(self, *, frozen: bool = False) -> None:
        super().__init__(feature_dim=3, image_size=32, stride=1, mean=(0.1, 0.2, 0.3), std=(0.5, 0.25, 2.0))
        self.scale = nn.Parameter(torch.ones(()))
        self.dropout = nn.Dropout(0.5)
        self.set_frozen(frozen)

    def feature_map(self, images: Tensor) -> Tensor:
        return self.dropout(images * self.scale)


def picture(height: int, width: int) -> np.ndarray:
    """A photo-like picture (H, W, 3): smooth colours, hard edges, some noise."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:height, 0:width]
    smooth = np.stack([x * 255 / width, y * 255 / height, 127 + 127 * np.sin(x / 9) * np.cos(y / 7)], axis=-1)
    smooth[(x // 20 + y // 20) % 5 == 0] = (255, 0, 30)
    return (smooth + rng.normal(0, 6, smooth.shape)).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize(("height", "width", "size"), [(240, 320, 224), (480, 270, 336), (64, 64, 336), (97, 131, 64)])
def test_resize_is_within_two_grey_levels_of_clips_processor(height: int, width: int, size: int):
    image = picture(height, width)
    processor = CLIPImageProcessorPil(
        size={"shortest_edge": size}, crop_size={"height": size, "width": size}, do_normalize=False
    )
    wanted = torch.as_tensor(np.asarray(processor(image)["pixel_values"][0]))
    got = resize_and_crop(torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255, size)[0]
    difference = (got - wanted).abs() * 255
    assert got.shape == (3, size, size)
    # The processor rounds to 8 bits, which alone gives a mean difference of 0.25.
    assert difference.max() <= 2
    assert difference.mean() <= 0.31


def test_resize_stays_in_the_range_at_hard_edges():
    stripes = (torch.arange(40) % 8 < 4).float().expand(1, 3, 40, 40)
    got = resize_and_crop(stripes, 100)
    assert got.min() == 0
    assert got.max() == 1


def test_frames_of_the_right_size_are_not_resampled():
    frames = torch.randn(2, 3, 32, 32)
    mean, std = torch.tensor([0.1, 0.2, 0.3]), torch.tensor([0.5, 0.25, 2.0])
    expected = (frames - mean.view(3, 1, 1)) / std.view(3, 1, 1)
    torch.testing.assert_close(Identity(frozen=True)(frames), expected)


@pytest.mark.parametrize("size", [32, 50])
def test_uint8_and_float_agree(size: int):
    frames = torch.randint(0, 256, (2, 3, size, size), dtype=torch.uint8)
    backbone = Identity(frozen=True)
    assert torch.equal(backbone(frames), backbone(frames.float() / 255))


def test_a_frozen_backbone_stays_in_eval_mode_and_gives_no_gradient():
    backbone = Identity(frozen=True)
    parent = nn.Sequential(backbone)
    parent.train()
    assert parent.training
    assert not backbone.training
    assert not backbone.dropout.training
    assert not any(parameter.requires_grad for parameter in backbone.parameters())
    features = backbone(torch.rand(1, 3, 32, 32, requires_grad=True))
    assert not features.requires_grad
    weight = torch.ones(3, 3, 1, 1, requires_grad=True)
    F.conv2d(features, weight).sum().backward()
    assert weight.grad is not None


def test_an_unfrozen_backbone_is_trained():
    backbone = Identity(frozen=True)
    backbone.set_frozen(False)
    assert backbone.training
    assert backbone.dropout.training
    backbone(torch.rand(1, 3, 32, 32)).sum().backward()
    assert backbone.scale.grad is not None
    assert not backbone.eval().training


def test_the_state_dict_has_the_parameters_only():
    assert list(Identity().state_dict()) == ["scale"]


@pytest.mark.parametrize("shape", [(3, 32, 32), (2, 1, 32, 32), (1, 2, 3, 32, 32)])
def test_wrong_shape(shape: tuple[int, ...]):
    with pytest.raises(ValueError, match=r"\(N, 3, H, W\)"):
        Identity()(torch.rand(shape))


def test_wrong_type():
    with pytest.raises(TypeError, match="int64"):
        Identity()(torch.zeros(1, 3, 32, 32, dtype=torch.int64))
