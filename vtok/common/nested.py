"""Nested mappings, such as a configuration."""

from collections.abc import Iterator
from typing import Any

from omegaconf import DictConfig, OmegaConf


def flatten(config: dict[str, Any]) -> dict[str, Any]:
    """{"a": {"b": [1, 2]}} -> {"a.b": [1, 2]}; lists and empty mappings are values."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, dict) and value:
            flat |= {f"{key}.{below}": leaf for below, leaf in flatten(value).items()}
        else:
            flat[str(key)] = value
    return flat


def leaves(node: Any, place: str) -> Iterator[tuple[str, Any]]:
    """Every value below a node that is neither a mapping nor a list, with its full key: ("mllm._target_", "...")."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield from leaves(value, f"{place}.{key}".lstrip("."))
    elif isinstance(node, list):
        for number, value in enumerate(node):
            yield from leaves(value, f"{place}[{number}]")
    else:
        yield place, node


def nodes(config: DictConfig, prefix: str = "") -> Iterator[tuple[str, DictConfig]]:
    """Every mapping below a configuration with its full key, except references to other nodes."""
    for key in map(str, config):
        if OmegaConf.is_missing(config, key) or OmegaConf.is_interpolation(config, key):
            continue
        value = config[key]
        if isinstance(value, DictConfig):
            yield prefix + key, value
            yield from nodes(value, f"{prefix}{key}.")
