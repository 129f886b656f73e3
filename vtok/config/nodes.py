"""Properties of components before weights are loaded: feature map, frame plan, width of the tokens."""

from collections.abc import Callable, Mapping
from functools import cache
from types import NoneType
from typing import TYPE_CHECKING, Any

from hydra.utils import get_class
from omegaconf import DictConfig, OmegaConf

from vtok.config.declaration import class_constant, declaration_of
from vtok.config.instantiate import build
from vtok.config.values import alternatives
from vtok.data.plan import StridePlanner

if TYPE_CHECKING:
    from vtok.backbone.base import FeatureShape

# Assumed for a backbone whose shapes are only known from its weights: any grid and width fit.
UNKNOWN_CHANNELS, UNKNOWN_SIZE = 8, 10_000


def constant_of(node: Any, name: str, default: Any = None) -> Any:
    """A constant of a node's class; see `vtok.config.declaration.class_constant`."""
    target = node.get("_target_") if isinstance(node, DictConfig) else None
    return default if target is None else class_constant(str(target), name, default)


def can_be_random(target: str) -> bool:
    """Whether the `weights` of a component may be null, for random weights."""
    return NoneType in alternatives(declaration_of(target).settings["weights"].type)


def is_backbone_random(config: DictConfig) -> bool:
    """Whether the backbone's weights are random numbers, which depend on the seed."""
    return not config.backbone.get("weights") and bool(constant_of(config.backbone, "has_weights", True))


def are_twins(config: DictConfig) -> bool:
    """Whether the data set shows the clips of another one."""
    # An exported tokeniser has no data.
    data = OmegaConf.select(config, "data")
    return "source" in (data or ()) and bool(constant_of(data, "wraps_source", False))


def filmed_node(config: DictConfig) -> tuple[str, Any]:
    """The data set with its full key; for twins, the data set that they show, which may not be a node yet."""
    path = "data.source" if are_twins(config) else "data"
    return path, OmegaConf.select(config, path)


def is_mixture(config: DictConfig) -> bool:
    """Whether the data set, or the one that twins show, is a mixture of others."""
    _, data = filmed_node(config)
    return "sources" in (data or ()) and bool(constant_of(data, "holds_sources", False))


def data_nodes(config: DictConfig) -> list[tuple[str, Any]]:
    """Every data set with its full key: for a mixture its sources instead, for twins also the data set that they show.

    A source may not be a node yet.
    """
    path, data = filmed_node(config)
    found = [(f"{path}.sources.{name}", node) for name, node in data.sources.items()] if is_mixture(config) else []
    return [*([("data", config.data)] if are_twins(config) else []), *(found or [(path, data)])]


def feature_shape(config: DictConfig) -> "FeatureShape | None":
    """The shape of the backbone's feature map; None if it is only known from the weights."""
    from vtok.backbone.base import Backbone

    kind = get_class(str(config.backbone._target_))
    if not issubclass(kind, Backbone):
        return None
    return kind.feature_shape({str(key): config.backbone[key] for key in config.backbone})


def planner_of(config: DictConfig) -> StridePlanner | None:
    """The tokeniser's frame planner; None if it is not a `Tokeniser`.

    Raises:
        UserError: if the tokeniser refuses its settings, such as a grid larger than the feature map.
    """
    planner_with = planners(config)
    return None if planner_with is None else planner_with({})


def planners(config: DictConfig) -> Callable[[Mapping[str, Any]], StridePlanner] | None:
    """A function from changed settings to the tokeniser's frame planner; None if it is not a `Tokeniser`.

    The tokeniser is built on the meta device, with a backbone that only has shapes.
    """
    import torch

    from vtok.tokeniser.base import Tokeniser

    if not issubclass(get_class(str(config.tokeniser._target_)), Tokeniser):
        return None
    settings: Any = OmegaConf.to_container(config.tokeniser, resolve=True)
    settings.pop("backbone", None)
    backbone = backbone_of_shape(feature_shape(config))
    tokeniser = build(OmegaConf.create({**settings, "_partial_": True}))

    def planner(changed: Mapping[str, Any]) -> StridePlanner:
        with torch.device("meta"):
            return tokeniser(backbone, **changed).planner

    return planner


@cache
def backbone_of_shape(shape: "FeatureShape | None") -> Any:
    """A backbone without weights that has this feature map."""
    from vtok.backbone.cached import CachedBackbone

    channels, size = (UNKNOWN_CHANNELS, UNKNOWN_SIZE) if shape is None else (shape.channels, shape.size)
    return CachedBackbone(feature_dim=channels, image_size=size, stride=1, num_parameters=0)


def token_dim(config: DictConfig) -> int | None:
    """The width of the video tokens, if it is set or known from the backbone's settings."""
    given = OmegaConf.select(config, "tokeniser.token_dim")
    shape = feature_shape(config) if given is None else None
    return given if shape is None else shape.channels
