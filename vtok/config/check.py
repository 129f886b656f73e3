"""Checks a composed configuration: unknown keys, foreign classes, missing files, and values that do not fit.

All but the frame plan is checked in milliseconds, before torch is loaded. Checks of single values are in `values.py`,
checks of several values together in `cross_checks.py`.
"""

import os
from importlib.util import find_spec
from pathlib import Path

from omegaconf import DictConfig

from vtok.common.errors import UserError
from vtok.common.overrides import command
from vtok.common.paths import CACHE_FILE, toys_dir, unwritable_reason, user_path
from vtok.config.compose import check_all_values
from vtok.config.cross_checks import (
    check_cache,
    check_clip,
    check_decoder,
    check_judge,
    check_logged_model,
    check_mllm,
    check_objective,
    check_plan,
    check_precision,
    check_projector,
    check_trainer,
)
from vtok.config.mixture import check_mixture
from vtok.config.nodes import constant_of, data_nodes
from vtok.config.targets import check_targets
from vtok.config.twins import check_twins
from vtok.config.weights import weights_of_run
from vtok.data.sources.shards.names import INDEX, split_pattern


def check(config: DictConfig, files: bool = True, plan: bool = True) -> None:
    """Refuse a configuration that cannot run.

    Args:
        config: the configuration, composed or loaded from a run.
        files: whether to check what only training needs, such as the user's clips and installed packages.
        plan: whether to check the tokeniser's frame plan, which loads torch.

    Raises:
        UserError: if the configuration cannot run; names the first mistake.
    """
    check_targets(config)
    check_all_values(config)
    check_clip(config)
    check_mixture(config)
    check_trainer(config)
    check_objective(config)
    check_precision(config)
    check_mllm(config)
    check_logged_model(config)
    check_judge(config)
    check_cache(config)
    check_toys(config)
    check_weights(config)
    if files:
        check_outputs(config)
        check_folder(config)
        check_installed(config)
    if plan:
        check_planned(config)


def check_planned(config: DictConfig) -> None:
    """Check settings against the tokeniser's plan and the backbone's feature map; loads torch.

    Raises:
        UserError: if they do not fit; names the first mistake.
    """
    check_plan(config)
    check_twins(config)
    check_decoder(config)
    check_projector(config)


def check_toys(config: DictConfig) -> None:
    """Toy models, which recipe=paper_tiny loads, must exist; `vtok toys` writes them."""
    for one in weights_of_run(config):
        if Path(one.weights).is_relative_to(toys_dir(config.outputs)) and not os.path.isdir(one.weights):
            where = [] if config.outputs == "outputs" else [f"outputs={config.outputs}"]
            toys = command("vtok", "toys", *where)
            raise UserError(f"{one.key}={one.weights}: the toy models do not exist yet. Make them with: {toys}")


def check_weights(config: DictConfig) -> None:
    """Weights given as a path must exist; a hub id is looked up when it is loaded."""
    for one in weights_of_run(config):
        is_path = one.weights.startswith(("/", ".", "~")) or one.weights.endswith((".pth", ".pt", ".safetensors"))
        if is_path and not os.path.exists(user_path(one.weights)):
            allowed = "a local path, a hub id, or null for random weights"
            if not one.can_be_random:
                allowed = "a local path or a hub id"
            raise UserError(f"{one.key}={one.weights}: this path does not exist. Use {allowed}.")


def check_outputs(config: DictConfig) -> None:
    """The folder of outputs must be writable: Hydra creates the run's folder before the run begins."""
    if reason := unwritable_reason(Path(config.outputs)):
        raise UserError(f"outputs={config.outputs}: the folder cannot be written ({reason}). Use another folder.")


def check_folder(config: DictConfig) -> None:
    """The user's clips and feature cache must exist; synthetic clips are made later, and servers contacted later."""
    cache = config.data.get("cache")
    if cache is not None and not os.path.isfile(user_path(cache) / CACHE_FILE):
        precompute = command("vtok", "precompute", f"out={cache}")
        raise UserError(
            f"data.cache={cache}: this folder holds no feature cache. Make one with {precompute}, followed by the "
            "overrides of this run."
        )
    for path, node in data_nodes(config):
        check_root(path, node)


def check_root(path: str, node: DictConfig) -> None:
    """Check the folder of a data set, whose full key is `path`."""
    if constant_of(node, "is_indexed", False) and "://" not in node.root:
        index = node.index or f"{split_pattern(node.root)[0]}/{INDEX}"
        if "://" not in index and not os.path.isfile(user_path(index)):
            indexing = command("vtok", "data", "index", f"root={node.root}")
            raise UserError(
                f"{path}.root={node.root}: there is no index {index}. Make the index of existing shards with "
                f"{indexing}. Make shards of another data set with vtok data pack."
            )
    if "manifest" not in node:
        return
    root = user_path(node.root)
    if not os.path.isdir(root):
        raise UserError(f"{path}.root={node.root} is not a folder. Use an existing folder of clips.")
    if next(root.rglob("*"), None) is None:
        raise UserError(
            f"{path}.root={node.root}: the folder is empty. Use a folder that holds video files with a .txt or .json "
            "beside each, sample/frames/*.jpg with sample/caption.txt, or a manifest.jsonl, .csv or .parquet."
        )
    if node.manifest is not None:
        manifest = user_path(node.manifest)
        if not (root / manifest).is_file() and not manifest.is_file():
            raise UserError(
                f"{path}.manifest={node.manifest}: there is no such file, neither in {path}.root={node.root} nor at "
                f"{manifest.absolute()}. Use an existing file."
            )


def check_installed(config: DictConfig) -> None:
    """The package that an optimiser needs, and the project does not, must be installed."""
    needed = constant_of(config.optimiser, "requires")
    if needed is not None and find_spec(needed) is None:
        raise UserError(
            f"optimiser: {config.optimiser._target_} needs {needed}, which is not installed. Install it with pip "
            f"install 'vtok[{constant_of(config.optimiser, 'extra')}]', or use optimiser=adamw or optimiser=adafactor."
        )
