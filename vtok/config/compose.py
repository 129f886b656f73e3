"""Hydra's composition, with the mistakes that it finds told in one sentence."""

import re
from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from pathlib import Path

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.plugins.search_path_plugin import SearchPathPlugin
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from vtok.config.budget import settle_budget
from vtok.config.mixture import link_sources
from vtok.config.schemas import OPTIONS, Config
from vtok.errors import UserError
from vtok.overrides import command, quoted, readable
from vtok.paths import conf_dir, experiments_dir

CONFIG_NAME = "config"
WRONG_TYPES = {
    r"converted to Integer": "a whole number",
    r"converted to Float": "a number",
    r"not a valid bool": "true or false",
    r"is not a ListConfig": "a list in brackets, such as [one,another], or null",
}
# Options that other packages bring.
EXTRAS = {
    "hydra/launcher=joblib": "joblib",
    "hydra/launcher=submitit_local": "slurm",
    "hydra/launcher=submitit_slurm": "slurm",
    "hydra/sweeper=optuna": "optuna",
}


class ExperimentsSearchPath(SearchPathPlugin):
    """Puts experiments/ (recipe, sweep) on Hydra's search path by its absolute path.

    A relative one would mean the working directory.
    """

    def manipulate_search_path(self, search_path) -> None:
        search_path.append("vtok", f"file://{experiments_dir()}")


def register() -> None:
    """Tell Hydra of the schemas and of experiments/; again is harmless."""
    if ExperimentsSearchPath not in Plugins.instance().discover(SearchPathPlugin):
        Plugins.instance().register(ExperimentsSearchPath)
    store = ConfigStore.instance()
    store.store(group="schema", name=CONFIG_NAME, node=Config)
    for group, options in OPTIONS.items():
        for option, schema in options.items():
            store.store(group=f"schema/{group}", name=option, node=schema)


def compose(overrides: Sequence[str] = ()) -> DictConfig:
    """The configuration that `python train.py OVERRIDES` runs with, a `tokeniser.budget` settled.

    Raises:
        UserError: an override that does not fit, with what would; or a `tokeniser.budget` that cannot be met.
    """
    register()
    with initialize_config_dir(version_base="1.3", config_dir=str(conf_dir())):
        try:
            config = hydra_compose(CONFIG_NAME, overrides=spelled_out(overrides), return_hydra_config=False)
            OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
        except (HydraException, OmegaConfBaseException) as error:
            raise UserError(explain(error, overrides)) from error
    link_sources(config)
    settle_budget(config, overrides)
    return config


def spelled_out(overrides: Sequence[str]) -> list[str]:
    """Overrides as Hydra can read them: raw texts and paths in quotes, and `resume=PATH` as `resume.path=PATH`.

    Hydra takes no value for what has keys of its own.

    Raises:
        UserError: one of them cannot be read.
    """
    short = "resume="
    return [
        readable(f"resume.path={item.removeprefix(short)}" if item.startswith(short) else item) for item in overrides
    ]


def typed(config: DictConfig) -> DictConfig:
    """A configuration from a file, held to the schemas as a composed one is, with defaults for keys that it lacks.

    Components without a schema stay as they are.

    Raises:
        OmegaConfBaseException: a key that is in no schema, or a value of another type.
    """
    schemas = OmegaConf.structured(Config)
    for group, options in OPTIONS.items():
        key = group.replace("/", ".")
        target = OmegaConf.select(config, f"{key}._target_")
        # The class has the default of its field.
        schema = next((schema for schema in options.values() if vars(schema)["_target_"] == target), None)
        if schema is not None:
            OmegaConf.update(schemas, key, OmegaConf.structured(schema), force_add=True)
    parts = [*OPTIONS["data"].values(), *OPTIONS["data/augmentation"].values()]
    kinds = {vars(schema)["_target_"]: schema for schema in parts}
    sources = OmegaConf.select(config, "data.sources") or {}
    if sources:
        schemas.data.sources = {}
    for key in (key for name in sources for key in (f"data.sources.{name}", f"data.sources.{name}.augmentation")):
        if (target := OmegaConf.select(config, f"{key}._target_")) in kinds:
            OmegaConf.update(schemas, key, OmegaConf.structured(kinds[target]), force_add=True)
    merged = OmegaConf.merge(schemas, config)
    assert isinstance(merged, DictConfig)
    link_sources(merged)
    return merged


def explain(error: Exception, overrides: Sequence[str]) -> str:
    """One or two sentences on what Hydra or OmegaConf refused."""
    message = str(error)
    if sweep := re.search(r"(?:Ambiguous value for argument|Sweep parameters) '(.+)'", message):
        key, _, value = sweep[1].partition("=")
        text = "" if "(" in value else f" If it is one text, quote it: {command(f'{key}={quoted(value)}')}"
        return f"{sweep[1]}: a list of values is a sweep. Set -m to run one job for each.{text}"
    if group := re.search(r"Could not find '(.+)/([^/']+)'", message):
        if extra := EXTRAS.get(f"{group[1]}={group[2]}"):
            return f"{group[1]}={group[2]}: it is not installed; pip install 'vtok[{extra}]'."
        return f"{group[1]}={group[2]}: there is no such option. {one_of(group[2], options_of(group[1]))}"
    if added := re.search(
        r"Could not override '([^']+@[^']+)'[^+]*To append to your default list use (\+\S+)", message
    ):
        return f"{added[1]}: nothing is there yet to be replaced; say {added[2]}."
    if group := re.search(r"Could not override '([^']+)'\. No match in the defaults list", message):
        if group[1] in OPTIONS:
            return f"{group[1]}: the {group[1].split('/')[0]} that was chosen takes no {group[1].split('/')[-1]}."
        return f"{group[1]}: there is no such group. {one_of(group[1], list(OPTIONS))}"
    cause = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else error
    key = getattr(cause, "full_key", None) or (found[1] if (found := re.search(r"full_key: (\S+)", message)) else "")
    text = str(cause).splitlines()[0] if str(cause) else message
    if key.startswith("data.weights.") and getattr(cause, "object_type", None) is dict:
        return f"{key}: data.weights is null; they are set together: 'data.weights={{ONE:3,OTHER:1}}'."
    if key.startswith("mllm.lora.") and getattr(cause, "object_type", None) is dict:
        # Hydra does not put a key into null.
        return f"{key}: mllm.lora is null; its keys are set together: 'mllm.lora={{rank:16,alpha:32}}'."
    if key == "data.sources" and "Key 'sources' not in" in message:
        return "data.sources: this data set has no sources; say data=mixture before them."
    if "not in struct" in str(cause) or re.search(r"Key '.*' not in '", str(cause)):
        return (
            f"{key}: there is no such key. {one_of(key, keys_beside(key, getattr(cause, 'object_type', None)))}".strip()
        )
    if follows := re.search(r"dereferencing interpolation '\$\{(.+)\}'.*Incompatible value 'None'", text):
        return f"{follows[1]}=null: {key} follows it; say {key}=VALUE beside it, or another {follows[1]}."
    if "Missing mandatory value" in str(cause):
        return f"{key} has no value yet: say {key}=VALUE."
    if key:
        given = next((item.split("=", 1)[1] for item in overrides if item.lstrip("+").split("=", 1)[0] == key), None)
        allowed = next((words for pattern, words in WRONG_TYPES.items() if re.search(pattern, text)), None)
        return f"{key}{'' if given is None else '=' + given}: {f'allowed is {allowed}.' if allowed else text}"
    return text if cause is not error else message.splitlines()[0]


def one_of(given: str, allowed: Sequence[str]) -> str:
    """ "Did you mean this? Allowed are those." """
    near = get_close_matches(given, allowed, n=1, cutoff=0.5)
    hint = f"Did you mean {near[0]}? " if near else ""
    return f"{hint}Allowed: {', '.join(allowed)}." if allowed else ""


def options_of(group: str, config_dir: Path | None = None) -> list[str]:
    """The options of a group, by their files; `config_dir` is a folder of the user's own groups."""
    folders = [folder / group for folder in (conf_dir(), experiments_dir(), config_dir) if folder is not None]
    return sorted(file.stem for folder in folders if folder.is_dir() for file in Path(folder).glob("*.yaml"))


def keys_beside(key: str, schema: type | None) -> list[str]:
    """The full keys that the schema of `key`'s parent has."""
    parent = key.rpartition(".")[0]
    names = [field.name for field in fields(schema) if not field.name.startswith("_")] if is_dataclass(schema) else []
    return sorted(f"{parent}.{name}" if parent else name for name in names)


def sweep_params(overrides: Sequence[str]) -> dict[str, str] | None:
    """What the chosen sweep file sweeps, by key; None where these overrides make a single run."""
    register()
    with initialize_config_dir(version_base="1.3", config_dir=str(conf_dir())):
        try:
            hydra = hydra_compose(CONFIG_NAME, overrides=spelled_out(overrides), return_hydra_config=True).hydra
        except (HydraException, OmegaConfBaseException) as error:
            raise UserError(explain(error, overrides)) from error
    if hydra.mode != RunMode.MULTIRUN:
        return None
    return {str(key): str(value) for key, value in (hydra.sweeper.params or {}).items()}
