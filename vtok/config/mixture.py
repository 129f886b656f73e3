"""A mixture of data sets: what its sources have in common with it, and whether there are sources and weights."""

from contextlib import suppress
from typing import Any

from omegaconf import DictConfig, OmegaConf

from vtok.common.errors import UserError
from vtok.config.declaration import NotImported, declaration_of
from vtok.config.nodes import data_nodes, is_mixture, trait_of
from vtok.config.values import shown
from vtok.data.sources.mixture.shares import check_names, check_weights

# Settings of the whole run: of a source they are taken from the mixture.
COMMON = ("size", "num_frames", "batch_size", "num_workers", "decode_timeout", "max_bad_fraction")
# What the options' files say of the frames.
FOLLOWED = "${backbone.image_size}"


def link_sources(config: DictConfig) -> None:
    """Have what the sources of a mixture have in common with it refer to it.

    An option of `data` that is composed into a mixture brings a batch size and the like of its own. What is as the
    class declares it counts as not set.

    Raises:
        UserError: something else was set for a source than for the mixture.
    """
    if not is_mixture(config):
        return
    for path, node in data_nodes(config):
        if not isinstance(node, DictConfig) or not node.get("_target_"):
            continue
        unset: dict[str, Any] = {}
        # A stranger's class that has no source is not looked at.
        with suppress(NotImported):
            unset = declaration_of(str(node._target_)).defaults()
        for key in COMMON:
            if key in node:
                raw = OmegaConf.to_container(node, resolve=False)[key]  # type: ignore[call-overload,index]
                follows = raw == FOLLOWED or (key in unset and node[key] == unset[key])
                _link(config, path, node, key, follows=follows)
        if config.data.fps is not None and "fps" in node:
            _link(config, path, node, "fps", follows=node.fps is None)
        if config.data.limit is not None and "limit" in node and (node.limit is None or node.limit > config.data.limit):
            node.limit = "${data.limit}"


def _link(config: DictConfig, path: str, node: DictConfig, key: str, *, follows: bool) -> None:
    common: Any = config.data[key]
    if node[key] != common and not follows:
        raise UserError(
            f"{path}.{key}={shown(node[key])}: the mixture has data.{key}={shown(common)}, for all of its sources. "
            f"Leave {path}.{key} out, or use data.{key}={shown(node[key])}."
        )
    node[key] = f"${{data.{key}}}"


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
