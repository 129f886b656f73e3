"""Patches of pixels as features, a control for pretrained weights."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.nn.functional import pixel_unshuffle

from vtok.backbone.base import Backbone, FeatureShape
from vtok.common.errors import UserError
from vtok.common.setting_types import Count


class PixelsBackbone(Backbone):
    """The feature of each place is its patch of pixels. Nothing is learnt.

    A control: what is found here needs no pretrained weights. Compare answers only, on a map of the same size; errors
    of reconstructed features are those of other features.

    Args:
        image_size: side of the images in pixels, a multiple of `patch_size`.
        patch_size: side of a patch in pixels; a feature has 3 * patch_size^2 channels.
        frozen: there are no weights to train, so this is true.

    Raises:
        UserError: `image_size` is not a multiple of `patch_size`, or `frozen` is false.
    """

    has_weights = False

    def __init__(
        self,
        *,
        image_size: Count = 64,
        patch_size: Count = 8,
        frozen: bool = True,
        map_size: Count | None = None,
    ) -> None:
        if not frozen:
            raise UserError("backbone.frozen=false: pixels have no weights to train. Use backbone.frozen=true.")
        if image_size % patch_size:
            raise UserError(
                f"backbone.image_size={image_size} is not a multiple of backbone.patch_size={patch_size}. "
                f"Use {max(image_size // patch_size, 1) * patch_size}, or another patch_size."
            )
        super().__init__(
            feature_dim=3 * patch_size**2,
            image_size=image_size,
            stride=patch_size,
            mean=(0.5, 0.5, 0.5),
            std=(0.5, 0.5, 0.5),
            map_size=map_size,
        )
        self.set_frozen(True)

    @classmethod
    def feature_shape(cls, settings: Mapping[str, Any]) -> FeatureShape | None:
        patch = settings["patch_size"]
        return FeatureShape(channels=3 * patch**2, size=settings.get("map_size") or settings["image_size"] // patch)

    def feature_map(self, images: Tensor) -> Tensor:
        """Normalised images (N, 3, S, S) -> (N, 3 * P^2, S / P, S / P), for patches of P x P pixels."""
        return pixel_unshuffle(images, self.stride)
