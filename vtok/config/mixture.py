"""A mixture of data sets: whether there are sources and weights, and how many clips of each."""

from omegaconf import DictConfig

from vtok.common.errors import UserError
from vtok.config.nodes import data_nodes, is_mixture, trait_of
from vtok.data.sources.mixture.shares import check_names, check_weights


def limit_sources(config: DictConfig) -> None:
    """Have the sources of a mixture use no more clips than the mixture's `limit`."""
    if not is_mixture(config) or config.data.limit is None:
        return
    for _, node in data_nodes(config):
        if isinstance(node, DictConfig) and "limit" in node and (node.limit is None or node.limit > config.data.limit):
            node.limit = "${data.limit}"


def check_are_components(config: DictConfig) -> None:
    """The sources of a mixture are components; which ones is seen by `check_targets`."""
    if not is_mixture(config):
        return
    check_names([str(name) for name in config.data.sources])
    for path, node in data_nodes(config):
        if not isinstance(node, DictConfig) or "_target_" not in node:
            raise UserError(
                f"{path}: it is not a data set. Compose one there by +data@{path}=folder (shards, shapes), and set its "
                f"keys, such as {path}.root=PATH."
            )


def check_sources(config: DictConfig) -> None:
    """The sources of a mixture are no mixtures, and have no cache of their own."""
    if not is_mixture(config):
        return
    for path, node in data_nodes(config):
        if trait_of(node, "holds_sources"):
            raise UserError(f"{path}: a mixture holds no mixture. Name its sources in data.sources beside the others.")
        if node.get("cache") is not None:
            raise UserError(
                f"{path}.cache={node.cache}: a mixture has one feature cache for all of its sources. Use "
                f"{path}.cache=null and data.cache=FOLDER, which vtok precompute out=FOLDER makes of the mixture."
            )


def check_mixture(config: DictConfig) -> None:
    """Each source of a mixture has a weight, or none has."""
    if is_mixture(config) and (weights := config.data.weights) is not None:
        sources = config.data.sources
        check_weights({str(name): weight for name, weight in weights.items()}, [str(name) for name in sources])
