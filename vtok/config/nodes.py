"""Asking the components of a composed configuration what must fit between them, before weights are loaded."""

from collections.abc import Callable, Mapping
from functools import cache
from types import NoneType
from typing import TYPE_CHECKING, Any

from hydra.utils import get_class
from omegaconf import DictConfig, OmegaConf

from vtok.config.declaration import declaration_of, trait
from vtok.config.instantiate import build
from vtok.config.values import alternatives
from vtok.data.plan import StridePlanner

if TYPE_CHECKING:
    from vtok.backbone.base import FeatureShape

# Of a backbone that only its weights describe: any grid and width fit until they are loaded.
UNKNOWN_CHANNELS, UNKNOWN_SIZE = 8, 10_000


def trait_of(node: Any, name: str, default: Any = None) -> Any:
    """A constant of a node's class, see `vtok.config.declaration.trait`."""
    target = node.get("_target_") if isinstance(node, DictConfig) else None
    return default if target is None else trait(str(target), name, default)


def can_be_random(target: str) -> bool:
    """Whether the `weights` of a component may be null: its architecture with random weights."""
    return NoneType in alternatives(declaration_of(target).settings["weights"].type)


def is_mixture(config: DictConfig) -> bool:
    """Whether the data set is made of others."""
    # An exported tokeniser has no data.
    data = OmegaConf.select(config, "data")
    return "sources" in (data or ()) and bool(trait_of(data, "holds_sources", False))


def data_nodes(config: DictConfig) -> list[tuple[str, Any]]:
    """The data set with its full key; of a mixture, those of its sources, which may not be nodes yet."""
    if is_mixture(config):
        return [(f"data.sources.{name}", node) for name, node in config.data.sources.items()]
    return [("data", config.data)]


def feature_shape(config: DictConfig) -> "FeatureShape | None":
    """The backbone's feature map, where its settings tell it before weights are loaded."""
    from vtok.backbone.base import Backbone

    kind = get_class(str(config.backbone._target_))
    if not issubclass(kind, Backbone):
        return None
    return kind.feature_shape({str(key): config.backbone[key] for key in config.backbone})


def planner_of(config: DictConfig) -> StridePlanner | None:
    """The tokeniser's frame plan; None of one that is no `Tokeniser`.

    Raises:
        UserError: the tokeniser's own, such as a grid larger than the feature map.
    """
    made = planners(config)
    return None if made is None else made({})


def planners(config: DictConfig) -> Callable[[Mapping[str, Any]], StridePlanner] | None:
    """Makes the frame plan of the tokeniser with some of its settings changed; None of one that is no `Tokeniser`.

    The tokeniser is built without memory, before a backbone that only has shapes.
    """
    import torch

    from vtok.tokeniser.base import Tokeniser

    if not issubclass(get_class(str(config.tokeniser._target_)), Tokeniser):
        return None
    settings: Any = OmegaConf.to_container(config.tokeniser, resolve=True)
    settings.pop("backbone", None)
    before = stand_in(feature_shape(config))
    tokeniser = build(OmegaConf.create({**settings, "_partial_": True}))

    def planner(changed: Mapping[str, Any]) -> StridePlanner:
        with torch.device("meta"):
            return tokeniser(before, **changed).planner

    return planner


@cache
def stand_in(shape: "FeatureShape | None") -> Any:
    """A backbone without weights of these shapes."""
    from vtok.backbone.absent import AbsentBackbone

    channels, size = (UNKNOWN_CHANNELS, UNKNOWN_SIZE) if shape is None else (shape.channels, shape.size)
    return AbsentBackbone(feature_dim=channels, image_size=size, stride=1, num_parameters=0)


def token_dim(config: DictConfig) -> int | None:
    """The width of the video tokens, where it is set or the backbone's settings tell it."""
    given = OmegaConf.select(config, "tokeniser.token_dim")
    shape = feature_shape(config) if given is None else None
    return given if shape is None else shape.channels
