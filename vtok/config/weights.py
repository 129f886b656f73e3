"""Which weights a configuration names."""

from collections.abc import Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from vtok.common.weights import Wanted
from vtok.config.nodes import can_be_random

WITH_WEIGHTS = ("backbone", "mllm", "decoder")


def wanted_weights(config: dict[str, Any], groups: Sequence[str] = WITH_WEIGHTS) -> list[Wanted]:
    """The weights that this project's components of a configuration name; a reference to elsewhere is not followed.

    Args:
        config: as plain dictionaries.
        groups: where components are: "backbone", "generation.judge".
    """
    found = []
    for group in groups:
        node: Any = config
        for part in group.split("."):
            node = node.get(part) if isinstance(node, dict) else None
        if not isinstance(node, dict):
            continue
        # What a component of somebody else's calls weights may be anything.
        target, weights = str(node.get("_target_")), node.get("weights")
        if target.startswith("vtok.") and isinstance(weights, str) and "${" not in weights:
            found.append(Wanted(f"{group}.weights", weights, node.get("revision"), can_be_random(target)))
    return found


def weights_of_run(config: DictConfig, *, resolve: bool = True) -> list[Wanted]:
    """The weights that a training run of a configuration loads; `resolve`: follow references in it."""
    groups = [group for group in WITH_WEIGHTS if group != "backbone" or config.data.get("cache") is None]
    if config.objective.get("lambda_dec"):
        groups.append("generation.judge")
    return wanted_weights(OmegaConf.to_container(config, resolve=resolve), groups)  # type: ignore[arg-type]
