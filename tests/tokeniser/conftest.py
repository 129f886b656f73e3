"""A backbone whose features can be computed by hand."""

import pytest
from torch import Tensor

from vtok.backbone import Backbone


class Pixels(Backbone):
    """Features are the pixels themselves."""

    def __init__(self) -> None:
        super().__init__(feature_dim=3, image_size=8, stride=1, mean=(0, 0, 0), std=(1, 1, 1))
        self.set_frozen(True)

    def feature_map(self, images: Tensor) -> Tensor:
        return images


@pytest.fixture
def pixels() -> Pixels:
    return Pixels()
