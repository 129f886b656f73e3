"""What Hydra and the schemas cannot see: extra keys, foreign targets, missing files, and values that do not fit.

Runs in milliseconds, before torch is loaded. Every rule reads the composed configuration and raises a UserError that
names the key, the value and what is allowed. Those on single values are in `ranges.py`, those on several in `pairs.py`.
"""

import inspect
import os
from dataclasses import fields, is_dataclass
from importlib.util import find_spec
from pathlib import Path

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from vtok.config.compose import explain, one_of
from vtok.config.mixture import check_mixture
from vtok.config.nodes import data_nodes, nodes
from vtok.config.pairs import (
    check_cache,
    check_context,
    check_frames,
    check_grid,
    check_judge,
    check_latent_decoder,
    check_logged_model,
    check_mllm,
    check_objective,
    check_pairs,
    check_precision,
)
from vtok.config.ranges import check_choices, check_ranges
from vtok.config.schemas import OPTIONS, AdamW8bit, CausalLanguageModel, Config, ShardData
from vtok.config.schemas.mllm import Lora
from vtok.config.targets import check_targets, imported
from vtok.errors import UserError
from vtok.overrides import command
from vtok.paths import CACHE_FILE, toys_dir, unwritable, user_path
from vtok.shard_names import INDEX, split_pattern


def check(config: DictConfig, files: bool = True) -> None:
    """Refuse a configuration that cannot run.

    Args:
        config: as composed, or as loaded from a run.
        files: whether what only training needs must be there, the user's clips above all.

    Raises:
        UserError: the first mistake found.
    """
    check_groups(config)
    check_mixture(config)
    check_targets(config)
    check_keys(config)
    check_lora(config)
    check_choices(config)
    check_ranges(config)
    check_pairs(config)
    check_objective(config)
    check_precision(config)
    check_latent_decoder(config)
    check_mllm(config)
    check_logged_model(config)
    check_judge(config)
    check_cache(config)
    check_toys(config)
    check_weights(config)
    check_frames(config)
    check_grid(config)
    check_context(config)
    if files:
        check_outputs(config)
        check_folder(config)
        check_installed(config)


def check_groups(config: DictConfig) -> None:
    """A group is chosen with a slash: `tokeniser.motion_pooling=grid` would put a word where a component belongs."""
    for group in OPTIONS:
        key = group.replace("/", ".")
        value = OmegaConf.select(config, key)
        missing = value is None and "/" not in group
        if missing or (value is not None and not isinstance(value, DictConfig)):
            raise UserError(
                f"{key}={value}: an option of a group is chosen by {group}=OPTION. "
                f"{one_of(str(value), list(OPTIONS[group]))}"
            )


def check_keys(config: DictConfig) -> None:
    """Keys that no component takes: `+tokeniser.typo=1` passes Hydra and the schema."""
    refuse_extra(config, "", {field.name for field in fields(Config)})
    for path, node in nodes(config):
        schema = OmegaConf.get_type(node)
        if is_dataclass(schema):
            refuse_extra(node, path, {field.name for field in fields(schema)})
        elif "_target_" in node:
            refuse_extra(node, path, signature_keys(str(node["_target_"]), f"{path}._target_"))


def check_lora(config: DictConfig) -> None:
    """`mllm.lora` is null or has the keys and types of its schema, which OmegaConf does not ask of what was null.

    Numbers are left to `ranges.py`.
    """
    given = OmegaConf.select(config, "mllm.lora")
    if given is None or not hasattr(OmegaConf.get_type(config.mllm), "lora"):
        return
    if not isinstance(given, DictConfig):
        raise UserError(f"mllm.lora={given}: allowed is null or settings such as 'mllm.lora={{rank:16,alpha:32}}'.")
    refuse_extra(given, "mllm.lora", {field.name for field in fields(Lora)})
    try:
        OmegaConf.merge({"mllm": {"lora": OmegaConf.structured(Lora)}}, {"mllm": {"lora": given}})
    except OmegaConfBaseException as error:
        raise UserError(
            explain(error, [f"{error.full_key}={OmegaConf.select(config, str(error.full_key))}"])
        ) from error


def check_toys(config: DictConfig) -> None:
    """What recipe=paper_tiny loads is made by a command of its own."""
    cached = config.data.get("cache") is not None
    for group in ("mllm", "decoder") if cached else ("backbone", "mllm", "decoder"):
        weights = config[group].get("weights")
        if weights and Path(weights).is_relative_to(toys_dir(config.outputs)) and not os.path.isdir(weights):
            where = [] if config.outputs == "outputs" else [f"outputs={config.outputs}"]
            making = command("vtok", "toys", *where)
            raise UserError(f"{group}.weights={weights}: nothing is there yet; make the toy models by: {making}")


def check_weights(config: DictConfig) -> None:
    """Weights given as a path must be there; a hub id is looked up when it is loaded."""
    cached = config.data.get("cache") is not None
    for group in ("mllm", "decoder") if cached else ("backbone", "mllm", "decoder"):
        key, node = f"{group}.weights", config[group]
        weights = node.get("weights")
        is_path = weights and (weights.startswith(("/", ".", "~")) or weights.endswith((".pth", ".pt", ".safetensors")))
        without = OmegaConf.get_type(node) is CausalLanguageModel
        if is_path and not os.path.exists(user_path(weights)):
            allowed = "a local path or a hub id" if without else "a local path, a hub id, or null for random weights"
            raise UserError(f"{key}={weights}: nothing is there. Allowed are {allowed}.")
        if without and weights is None:
            raise UserError(
                f"{key}=null: a model of mllm=causal_lm brings its tokenizer, so that there is none without files. "
                f"Allowed are a local path or a hub id; without files run mllm=tiny, or mllm=llava_next {key}=null."
            )


def check_outputs(config: DictConfig) -> None:
    """Hydra makes the folder of a run before the run begins."""
    if reason := unwritable(Path(config.outputs)):
        raise UserError(f"outputs={config.outputs}: nothing can be written there, as {reason}. Set another folder.")


def check_folder(config: DictConfig) -> None:
    """The user's folder of clips; a data set that makes its files makes its folder too, and servers are asked later."""
    cache = config.data.get("cache")
    if cache is not None and not os.path.isfile(user_path(cache) / CACHE_FILE):
        making = command("vtok", "precompute", f"out={cache}")
        raise UserError(
            f"data.cache={cache}: there is no feature cache; make it by: {making}, followed "
            "by the overrides of this run."
        )
    for path, node in data_nodes(config):
        check_root(path, node)


def check_root(path: str, node: DictConfig) -> None:
    """The folder of a data set, whose full key is `path`."""
    if OmegaConf.get_type(node) is ShardData and "://" not in node.root:
        index = node.index or f"{split_pattern(node.root)[0]}/{INDEX}"
        if "://" not in index and not os.path.isfile(user_path(index)):
            making = command("vtok", "data", "index", f"root={node.root}")
            raise UserError(
                f"{path}.root={node.root}: there is no index {index}; for shards that are there, say: {making}; "
                "vtok data pack makes shards and index out of another data set."
            )
    if "manifest" not in node:
        return
    root = user_path(node.root)
    if not os.path.exists(root):
        raise UserError(f"{path}.root={node.root}: there is no such folder (looked for {root.absolute()}).")
    if not root.is_dir():
        raise UserError(f"{path}.root={node.root}: this is a file; allowed is a folder of clips.")
    if next(root.rglob("*"), None) is None:
        raise UserError(
            f"{path}.root={node.root}: the folder is empty; allowed are video files with a .txt or .json "
            "beside them, sample/frames/*.jpg with sample/caption.txt, or a manifest.jsonl, .csv or .parquet."
        )
    if node.manifest is not None:
        manifest = Path(node.manifest).expanduser()
        if not (root / manifest).is_file() and not manifest.is_file():
            raise UserError(
                f"{path}.manifest={node.manifest}: there is no such file, neither in {path}.root={node.root} nor "
                f"{manifest.absolute()}."
            )


def check_installed(config: DictConfig) -> None:
    """Packages that an option needs and the project does not."""
    if OmegaConf.get_type(config.optimiser) is AdamW8bit and find_spec("bitsandbytes") is None:
        raise UserError(
            "optimiser=adamw8bit: it needs bitsandbytes, which is not installed: pip install 'vtok[bnb]', or say "
            "optimiser=adamw or optimiser=adafactor."
        )


def refuse_extra(node: DictConfig, path: str, known: set[str]) -> None:
    for key in map(str, node):
        if key not in known:
            names = sorted(name for name in known if not name.startswith("_"))
            where = f" of {path}" if path else ""
            raise UserError(f"{path + '.' if path else ''}{key}: there is no such key{where}. {one_of(key, names)}")


def signature_keys(target: str, key: str) -> set[str]:
    """The keyword arguments of a component that has no schema here (one of the user's own); `key` is of its target."""
    parameters = inspect.signature(imported(target, key)).parameters
    return {*parameters, "_target_", "_partial_", "_recursive_", "_convert_"}
