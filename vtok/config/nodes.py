"""Reading a composed configuration: its nodes, and what their schemas know before anything is built."""

from collections.abc import Iterator
from dataclasses import is_dataclass
from typing import Any

from omegaconf import DictConfig, OmegaConf

from vtok.config.schemas.data import MixtureData
from vtok.plan import StridePlanner


def nodes(config: DictConfig, prefix: str = "") -> Iterator[tuple[str, DictConfig]]:
    """Every mapping below `config` with its full key; references to other nodes are left out."""
    for key in config:
        if OmegaConf.is_missing(config, key) or OmegaConf.is_interpolation(config, key):  # type: ignore[arg-type]
            continue
        value = config[key]
        if isinstance(value, DictConfig):
            path = prefix + str(key)
            yield path, value
            yield from nodes(value, f"{path}.")


def data_nodes(config: DictConfig) -> list[tuple[str, Any]]:
    """The data set with its full key; of a mixture, those of its sources, which may not be nodes yet."""
    if OmegaConf.get_type(config.data) is MixtureData:
        return [(f"data.sources.{name}", node) for name, node in config.data.sources.items()]
    return [("data", config.data)]


def planner_of(config: DictConfig) -> StridePlanner | None:
    """The tokeniser's frame plan, where its schema knows it."""
    tokeniser = described(config.tokeniser)
    return tokeniser.planner() if hasattr(tokeniser, "planner") else None


def feature_size(config: DictConfig) -> int | None:
    """The side of the backbone's feature map, where its schema knows it before anything is loaded."""
    backbone = described(config.backbone)
    return backbone.feature_size() if hasattr(backbone, "feature_size") else None


def token_dim(config: DictConfig) -> int | None:
    """The width of the video tokens, where it is said or the backbone's schema knows it."""
    said = OmegaConf.select(config, "tokeniser.token_dim")
    backbone = described(config.backbone)
    return backbone.channels() if said is None and hasattr(backbone, "channels") else said


def described(node: DictConfig) -> Any:
    """A component's settings as its schema; None for a component without one."""
    return OmegaConf.to_object(node) if is_dataclass(OmegaConf.get_type(node)) else None
