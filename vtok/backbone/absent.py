"""What stands in the place of a backbone whose features were computed before."""

from torch import Tensor

from vtok.backbone.base import Backbone


class AbsentBackbone(Backbone):
    """The shapes of a frozen backbone, and no weights: it encodes nothing.

    Args:
        feature_dim, image_size, stride: of the backbone, see `Backbone`.
        num_parameters: of the backbone, to be told.
        depth: see `Backbone`.
    """

    def __init__(
        self, *, feature_dim: int, image_size: int, stride: int, num_parameters: int, depth: int | None = None
    ) -> None:
        super().__init__(
            feature_dim=feature_dim, image_size=image_size, stride=stride, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)
        )
        self.num_parameters, self.depth = num_parameters, depth
        self.set_frozen(True)

    def feature_map(self, images: Tensor) -> Tensor:
        """Raises RuntimeError: only what is in the cache can be tokenised."""
        raise RuntimeError("with data.cache there is no backbone; frames were to be encoded nevertheless.")
