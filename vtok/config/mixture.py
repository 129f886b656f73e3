"""Checks of a mixture of data sets: its sources, their weights and its limit."""

from omegaconf import DictConfig

from vtok.common.errors import UserError
from vtok.config.nodes import data_nodes, is_mixture, trait_of
from vtok.data.sources.mixture.shares import check_names, check_weights


def limit_sources(config: DictConfig) -> None:
    """Apply a mixture's `limit` to each of its sources that has no smaller one."""
    if not is_mixture(config) or config.data.limit is None:
        return
    for _, node in data_nodes(config):
        if isinstance(node, DictConfig) and "limit" in node and (node.limit is None or node.limit > config.data.limit):
            node.limit = "${data.limit}"


def check_are_components(config: DictConfig) -> None:
    """The sources of a mixture must be components; `check_targets` checks of which class."""
    if not is_mixture(config):
        return
    check_names([str(name) for name in config.data.sources])
    for path, node in data_nodes(config):
        if not isinstance(node, DictConfig) or "_target_" not in node:
            raise UserError(
                f"{path}: it is not a data set. Add one with +data@{path}=folder (or shards, shapes), and set its "
                f"keys, such as {path}.root=PATH."
            )


def check_sources(config: DictConfig) -> None:
    """A source of a mixture cannot be a mixture or have a cache of its own."""
    if not is_mixture(config):
        return
    for path, node in data_nodes(config):
        if trait_of(node, "holds_sources"):
            raise UserError(f"{path}: a mixture cannot hold a mixture. Add its sources to data.sources directly.")
        if node.get("cache") is not None:
            raise UserError(
                f"{path}.cache={node.cache}: a mixture has one feature cache for all of its sources. Make it with vtok "
                f"precompute out=FOLDER, and set {path}.cache=null data.cache=FOLDER."
            )


def check_mixture(config: DictConfig) -> None:
    """Either all sources of a mixture have a weight, or none has."""
    if is_mixture(config) and (weights := config.data.weights) is not None:
        sources = config.data.sources
        check_weights({str(name): weight for name, weight in weights.items()}, [str(name) for name in sources])
