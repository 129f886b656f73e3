"""A placeholder for a backbone whose features come from a cache."""

from torch import Tensor

from vtok.backbone.base import Backbone


class CachedBackbone(Backbone):
    """The shapes of a frozen backbone without its weights. It cannot encode frames.

    Args:
        feature_dim: number of channels of the feature map.
        image_size: side of the backbone's images in pixels.
        stride: distance between two neighbours of the feature map in pixels.
        num_parameters: number of parameters of the backbone, for reports.
        depth: see `Backbone`.
        map_size: see `Backbone`.
    """

    def __init__(
        self,
        *,
        feature_dim: int,
        image_size: int,
        stride: int,
        num_parameters: int,
        depth: int | None = None,
        map_size: int | None = None,
    ) -> None:
        super().__init__(
            feature_dim=feature_dim,
            image_size=image_size,
            stride=stride,
            mean=(0.0, 0.0, 0.0),
            std=(1.0, 1.0, 1.0),
            map_size=map_size,
        )
        self.num_parameters, self.depth = num_parameters, depth
        self.set_frozen(True)

    def feature_map(self, images: Tensor) -> Tensor:
        """Raises RuntimeError: only cached features can be tokenised."""
        raise RuntimeError("a run with data.cache has no backbone and cannot encode frames.")
