"""What a run logs about its backbone before the first step."""

from torch import Tensor

from vtok.backbone import TinyBackbone
from vtok.training.summary import backbone_cost


def test_the_cost_of_a_backbone_names_frames_places_and_operations() -> None:
    text = backbone_cost(TinyBackbone(), frames=5)
    assert text.startswith("backbone: 5 frames a clip, 64 x 64 pixels, 64 places, 0.122 GFLOP a clip")


def test_large_images_name_the_setting_that_makes_them_smaller() -> None:
    text = backbone_cost(TinyBackbone(image_size=512), frames=1)
    assert text.endswith(". A smaller backbone.image_size costs less: half of it is a quarter of the places")


def test_a_backbone_that_looks_at_values_is_not_counted() -> None:
    class Looks(TinyBackbone):
        def feature_map(self, images: Tensor) -> Tensor:
            assert images.sum() > -1e9
            return super().feature_map(images)

    assert backbone_cost(Looks(), frames=5).endswith("64 places, operations that cannot be counted from shapes")
