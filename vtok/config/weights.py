"""Lists the weights that a configuration names."""

from collections.abc import Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from vtok.common.weights import WeightsRef
from vtok.config.nodes import can_be_random

WITH_WEIGHTS = ("backbone", "mllm", "decoder")


def wanted_weights(config: dict[str, Any], groups: Sequence[str] = WITH_WEIGHTS) -> list[WeightsRef]:
    """The weights named by this project's components; references are not followed.

    Args:
        config: configuration as plain dictionaries.
        groups: keys of components, such as "backbone" or "generation.judge".
    """
    found = []
    for group in groups:
        node: Any = config
        for part in group.split("."):
            node = node.get(part) if isinstance(node, dict) else None
        if not isinstance(node, dict):
            continue
        # In components of other packages, a setting called weights may be anything.
        target, weights = str(node.get("_target_")), node.get("weights")
        if target.startswith("vtok.") and isinstance(weights, str) and "${" not in weights:
            found.append(WeightsRef(f"{group}.weights", weights, node.get("revision"), can_be_random(target)))
    return found


def weights_of_run(config: DictConfig, *, resolve: bool = True) -> list[WeightsRef]:
    """The weights that training loads.

    Args:
        config: configuration of the run.
        resolve: whether references are resolved.
    """
    groups = [group for group in WITH_WEIGHTS if group != "backbone" or config.data.get("cache") is None]
    if config.objective.get("lambda_dec"):
        groups.append("generation.judge")
    return wanted_weights(OmegaConf.to_container(config, resolve=resolve), groups)  # type: ignore[arg-type]
