"""The architecture of a configuration, built without reading or downloading weights."""

import logging

import torch
from huggingface_hub.errors import HFValidationError
from omegaconf import DictConfig, OmegaConf

from vtok.common.errors import UserError
from vtok.common.nested import nodes
from vtok.common.paths import user_path
from vtok.common.quiet import quiet
from vtok.common.weights import cached_folder
from vtok.config.check import check, check_toys
from vtok.config.nodes import can_be_random
from vtok.config.targets import is_own_target
from vtok.model.build import build_model
from vtok.model.video_language_model import VideoLanguageModel

# Groups of the configuration that hold parameters.
COMPONENTS = ("backbone", "tokeniser", "mllm", "visual_head", "decoder")


def model_without_weights(config: DictConfig) -> tuple[VideoLanguageModel, list[str]]:
    """The model of a configuration on the meta device, and notes on the weights that were not read.

    For weights in a local folder or in the hub's local cache, their config.json or model_index.json gives the
    architecture, if the component can be built from that file alone. Otherwise the architecture is that of
    `weights: null`.

    Args:
        config: the configuration; weights that are not read become null in it.

    Raises:
        UserError: if the configuration cannot run.
    """
    check_toys(config)
    given = {
        f"{path}.weights": node
        for path, node in nodes(config)
        if path.split(".")[0] in COMPONENTS and node.get("weights") is not None
    }
    values = {key: str(node["weights"]) for key, node in given.items()}
    folders = {key for key, node in given.items() if has_config_file(values[key], node.get("revision"))}
    optional = {key for key, node in given.items() if may_be_null(str(node.get("_target_")))}
    for key in optional - folders:
        OmegaConf.update(config, key, None)
    try:
        model = build_on_meta(config)
    except UserError:
        if not folders & optional:
            raise
        for key in folders & optional:
            OmegaConf.update(config, key, None)
        folders -= optional
        model = build_on_meta(config)
    notes = [
        f"{key}={value}: not looked up. The architecture is that of {key}=null."
        if key in optional - folders
        else f"{key}={value}: no weights were read. The architecture is that of the folder."
        for key, value in values.items()
    ]
    return model, notes


def may_be_null(target: str) -> bool:
    """Whether a component can be built without weights; of another package's component it is assumed."""
    return not is_own_target(target) or can_be_random(target)


def has_config_file(weights: str, revision: str | None) -> bool:
    """Whether a folder, or the hub's local cache, has the file that describes a model's architecture."""
    try:
        folder = user_path(weights) if user_path(weights).is_dir() else cached_folder(weights, revision)
    # A path that does not exist.
    except HFValidationError:
        return False
    return folder is not None and any((folder / name).is_file() for name in ("config.json", "model_index.json"))


def build_on_meta(config: DictConfig) -> VideoLanguageModel:
    """Build the model without memory, initialisation or download.

    Raises:
        UserError: if the configuration cannot run.
    """
    check(config, files=False)
    # Warnings about random weights do not apply: there are no weights at all.
    with quiet("vtok", level=logging.ERROR), torch.device("meta"):
        return build_model(config)
