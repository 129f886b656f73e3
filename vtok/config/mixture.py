"""A mixture of data sets: what its sources have in common with it, and whether there are sources and weights."""

from dataclasses import is_dataclass
from typing import Any

from omegaconf import DictConfig, OmegaConf

from vtok.config.nodes import data_nodes
from vtok.config.schemas import OPTIONS, MixtureData
from vtok.errors import UserError
from vtok.mixing import check_names, check_weights

# Settings of the whole run: of a source they are taken from the mixture.
COMMON = ("size", "num_frames", "batch_size", "num_workers", "decode_timeout", "max_bad_fraction")
# What the options' files say of the frames.
FOLLOWED = "${backbone.image_size}"


def link_sources(config: DictConfig) -> None:
    """Have what the sources of a mixture have in common with it refer to it.

    An option of `data` that is composed into a mixture brings a batch size and the like of its own. What is as in the
    option's schema counts as not said.

    Raises:
        UserError: something else was said of a source than of the mixture.
    """
    if not is_mixture(config):
        return
    for path, node in data_nodes(config):
        if not isinstance(node, DictConfig):
            continue
        schema = OmegaConf.get_type(node)
        unsaid = vars(schema()) if is_dataclass(schema) else {}
        for key in COMMON:
            if key in node:
                raw = OmegaConf.to_container(node, resolve=False)[key]  # type: ignore[call-overload,index]
                follows = raw == FOLLOWED or (key in unsaid and node[key] == unsaid[key])
                _link(config, path, node, key, follows=follows)
        if config.data.fps is not None and "fps" in node:
            _link(config, path, node, "fps", follows=node.fps is None)
        if config.data.limit is not None and "limit" in node and (node.limit is None or node.limit > config.data.limit):
            node.limit = "${data.limit}"


def _link(config: DictConfig, path: str, node: DictConfig, key: str, *, follows: bool) -> None:
    whole: Any = config.data[key]
    if node[key] != whole and not follows:
        raise UserError(
            f"{path}.{key}={_text(node[key])}: the mixture has data.{key}={_text(whole)}, for all of its sources; "
            f"leave {path}.{key} out, or say data.{key}={_text(node[key])}."
        )
    node[key] = f"${{data.{key}}}"


def check_mixture(config: DictConfig) -> None:
    """The sources of a mixture are data sets, and each has a weight, or none has."""
    if not is_mixture(config):
        return
    sources = config.data.sources
    check_names([str(name) for name in sources])
    for path, node in data_nodes(config):
        foreign = not isinstance(node, DictConfig) or not node.get("_target_")
        if foreign or (
            is_dataclass(OmegaConf.get_type(node)) and OmegaConf.get_type(node) not in OPTIONS["data"].values()
        ):
            raise UserError(
                f"{path}: it is no data set; compose one there by +data@{path}=folder (shards, shapes), and set its "
                f"keys, such as {path}.root=PATH."
            )
        if str(node._target_).endswith(".MixtureData"):
            raise UserError(f"{path}: a mixture holds no mixture; name its sources in data.sources beside the others.")
        if node.get("cache") is not None:
            raise UserError(
                f"{path}.cache={node.cache}: a mixture has one feature cache for all of its sources; say "
                f"{path}.cache=null and data.cache=FOLDER, which vtok precompute out=FOLDER makes of the mixture."
            )
    weights = config.data.weights
    if weights is None:
        return
    if not isinstance(weights, DictConfig):
        raise UserError(
            f"data.weights={weights}: allowed is null, or a number for each source: 'data.weights={{ONE:3,OTHER:1}}'."
        )
    for name, weight in weights.items():
        if isinstance(weight, bool) or not isinstance(weight, int | float):
            raise UserError(f"data.weights.{name!s}={_text(weight)}: allowed are numbers above 0.")
    check_weights({str(name): weight for name, weight in weights.items()}, [str(name) for name in sources])


def is_mixture(config: DictConfig) -> bool:
    # An exported tokeniser has no data.
    data = OmegaConf.select(config, "data")
    return isinstance(data, DictConfig) and OmegaConf.get_type(data) is MixtureData


def _text(value: Any) -> str:
    return "null" if value is None else str(value)
