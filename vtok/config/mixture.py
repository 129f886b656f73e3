"""Checks of data sets that hold others: the sources of a mixture, their weights and its limit; the source of twins."""

from omegaconf import DictConfig

from vtok.common.errors import UserError
from vtok.config.nodes import are_twins, constant_of, data_nodes, filmed_node, is_mixture
from vtok.data.sources.mixture.shares import check_names, check_weights


def limit_sources(config: DictConfig) -> None:
    """Apply a mixture's `limit` to each of its sources that has no smaller one."""
    path, mixture = filmed_node(config)
    if not is_mixture(config) or mixture.limit is None:
        return
    for node in mixture.sources.values():
        if isinstance(node, DictConfig) and "limit" in node and (node.limit is None or node.limit > mixture.limit):
            node.limit = f"${{{path}.limit}}"


def check_are_components(config: DictConfig) -> None:
    """The sources of a mixture must be components; `check_targets` checks of which class."""
    if not is_mixture(config):
        return
    check_names([str(name) for name in filmed_node(config)[1].sources])
    for path, node in data_nodes(config):
        if not isinstance(node, DictConfig) or "_target_" not in node:
            raise UserError(
                f"{path}: it is not a data set. Add one with +data@{path}=folder (or shards, shapes), and set its "
                f"keys, such as {path}.root=PATH."
            )


def check_sources(config: DictConfig) -> None:
    """A mixture cannot hold twins or a mixture, twins cannot show twins, and no source has a cache of its own."""
    place, data = filmed_node(config)
    if place != "data" and constant_of(data, "wraps_source"):
        raise UserError(f"{place}: twins cannot be shown as twins. Use data@{place}=folder, shards, shapes or mixture.")
    sources = {f"{place}.sources.{name}": node for name, node in data.sources.items()} if is_mixture(config) else {}
    for path, node in sources.items():
        if constant_of(node, "holds_sources"):
            raise UserError(f"{path}: a mixture cannot hold a mixture. Add its sources to {place}.sources directly.")
        if constant_of(node, "wraps_source"):
            raise UserError(f"{path}: a mixture cannot hold twins. Use data=twins data@data.source=mixture instead.")
    for path, node in (sources | ({place: data} if are_twins(config) else {})).items():
        if isinstance(node, DictConfig) and node.get("cache") is not None:
            raise UserError(
                f"{path}.cache={node.cache}: there is one feature cache for all sources. Make it with vtok precompute "
                f"out=FOLDER, and set {path}.cache=null data.cache=FOLDER."
            )


def check_mixture(config: DictConfig) -> None:
    """Either all sources of a mixture have a weight, or none has; those of twins have none."""
    path, data = filmed_node(config)
    if is_mixture(config) and (weights := data.weights) is not None:
        if are_twins(config):
            raise UserError(
                f"{path}.weights: an epoch has every twin once, whatever its source. Set {path}.weights=null."
            )
        check_weights({str(name): weight for name, weight in weights.items()}, [str(name) for name in data.sources])
