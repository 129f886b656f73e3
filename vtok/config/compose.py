"""Hydra's composition, with the mistakes that it finds told in one sentence."""

import re
from collections.abc import Callable, Sequence
from types import NoneType

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from vtok.common.errors import UserError
from vtok.common.overrides import command, parse, quoted, readable
from vtok.common.paths import conf_dir
from vtok.config.budget import settle_budget
from vtok.config.cross_checks import check_clip
from vtok.config.declaration import declaration_of
from vtok.config.mixture import check_are_components, check_sources, limit_sources
from vtok.config.moved import moved
from vtok.config.options import groups, one_of, options_of
from vtok.config.source import SCHEME, register_sources, with_defaults
from vtok.config.targets import check_targets, is_of_the_project
from vtok.config.values import check_node, check_values, unknown_key

CONFIG_NAME = "config"
RUN_SETTINGS = "vtok.config.run_settings.RunSettings"
# Dots in the key of a mixture's source.
DEPTH_OF_SOURCES = 2
# Options that other packages bring.
EXTRAS = {
    "hydra/launcher=joblib": "joblib",
    "hydra/launcher=submitit_local": "slurm",
    "hydra/launcher=submitit_slurm": "slurm",
    "hydra/sweeper=optuna": "optuna",
}


def register() -> None:
    """Tell Hydra of the declared settings, conf/ and experiments/; again is harmless."""
    register_sources()
    defaults = declaration_of(RUN_SETTINGS).defaults()
    ConfigStore.instance().store(name="run_settings", node=defaults)


def compose(overrides: Sequence[str] = ()) -> DictConfig:
    """The configuration that `python train.py OVERRIDES` runs with, a `tokeniser.budget` settled.

    Raises:
        UserError: an override that does not fit, with what would; or a `tokeniser.budget` that cannot be met.
    """
    register()
    with initialize_config_dir(version_base="1.3", config_dir=str(conf_dir())):
        try:
            config = hydra_compose(CONFIG_NAME, overrides=spelled_out(overrides), return_hydra_config=False)
            complete(config, overrides)
        except (HydraException, OmegaConfBaseException) as error:
            raise UserError(explain(error, overrides)) from error
    return config


def complete(config: DictConfig, overrides: Sequence[str] = ()) -> None:
    """Check the values of a configuration that Hydra composed, and settle what depends on several of them.

    Raises:
        UserError: a value that does not fit, or a `tokeniser.budget` that cannot be met.
        OmegaConfBaseException: a value that is missing, or refers to nothing.
    """
    check_groups(config)
    check_whole(config)
    check_are_components(config)
    check_clip(config)
    check_targets(config)
    with open_dict(config):
        with_defaults(config)
    check_sources(config)
    check_all_values(config)
    OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    limit_sources(config)
    settle_budget(config, overrides)


def check_groups(config: DictConfig) -> None:
    """A group is chosen with a slash: `tokeniser.motion_pooling=grid` would put a word where a component belongs."""
    for group in groups():
        key = group.replace("/", ".")
        value = OmegaConf.select(config, key)
        if value is not None and not isinstance(value, DictConfig):
            raise UserError(
                f"{key}={value}: an option of a group is chosen by {group}=OPTION. "
                f"{one_of(str(value), options_of(group))}"
            )


def check_whole(config: DictConfig) -> None:
    """Every group is there: `~tokeniser` leaves a run without one."""
    for group in (one for one in groups() if "/" not in one):
        if group not in config:
            raise UserError(f"~{group}: a run needs this group. Use {group}=OPTION. {one_of('', options_of(group))}")


def check_all_values(config: DictConfig, only: Callable[[str], bool] = lambda target: True) -> None:
    """Hold the run's own settings and those of its components against their declarations.

    Args:
        config: as composed or loaded.
        only: says of a `_target_` whether its class is looked at.

    Raises:
        UserError: an unknown key, or a value that does not fit.
    """
    own = declaration_of(RUN_SETTINGS)
    components = {group for group in groups() if "/" not in group}
    for key in map(str, config):
        if key not in own.settings and key not in components:
            raise UserError(unknown_key(key, sorted({*own.settings, *components})))
    check_node("", OmegaConf.masked_copy(config, list(own.settings)), own)
    check_values(config, only)


def spelled_out(overrides: Sequence[str]) -> list[str]:
    """Overrides as Hydra can read them: raw texts and paths in quotes, and `resume=PATH` as `resume.path=PATH`.

    Hydra takes no value for what has keys of its own. Folders of options are read by our own source, which knows what
    classes declare.

    Raises:
        UserError: one of them cannot be read.
    """
    short, folders = "resume=", "hydra.searchpath="
    found = []
    for item in overrides:
        if item.startswith(short):
            item = f"resume.path={item.removeprefix(short)}"
        elif item.startswith(folders):
            item = item.replace("file://", f"{SCHEME}://")
        found.append(readable(item))
        check_option(found[-1])
    return found


def check_option(item: str) -> None:
    """A group is set to the name of an option, never to null or a number, at which Hydra fails.

    Raises:
        UserError: it is.
    """
    parsed = parse(item)
    if parsed is None or parsed.is_delete() or not isinstance(parsed.value(), NoneType | bool | int | float):
        return
    if not (group := parsed.key_or_group):
        raise UserError(f"{item}: the key is missing. Use KEY=VALUE or GROUP=OPTION.")
    if group in groups():
        raise UserError(f"{item}: must be the name of an option. {one_of('', options_of(group))}")


def typed(config: DictConfig) -> DictConfig:
    """A configuration from a file, checked as a composed one is, with the declared defaults of keys that it lacks.

    Components of other packages stay as they are: a file that may be a stranger's has none of their code looked at.

    Raises:
        UserError: an unknown key, or a value that does not fit.
    """
    completed = OmegaConf.merge(OmegaConf.create(declaration_of(RUN_SETTINGS).defaults()), config)
    assert isinstance(completed, DictConfig)
    with_defaults(completed, only=is_of_the_project)
    check_all_values(completed, only=is_of_the_project)
    limit_sources(completed)
    return completed


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
        return f"{group[1]}={group[2]}: unknown option. {one_of(group[2], options_of(group[1]))}"
    if added := re.search(
        r"Could not override '([^']+@[^']+)'[^+]*To append to your default list use (\+\S+)", message
    ):
        return f"{added[1]}: there is nothing to replace yet. Use {added[2]}."
    if group := re.search(r"Could not override '([^']+)'\. No match in the defaults list", message):
        if group[1] in groups():
            return f"{group[1]}: the {group[1].split('/')[0]} that was chosen takes no {group[1].split('/')[-1]}."
        return f"{group[1]}: unknown group. {one_of(group[1], groups())}"
    if added := re.search(r"An item is already at '(.+)'\.\s*Either remove \+ prefix: '(.+)'", message):
        return f"{added[1]}: this key exists already. Use {added[2]}, without a plus sign."
    cause = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else error
    key = getattr(cause, "full_key", None) or (found[1] if (found := re.search(r"full_key: (\S+)", message)) else "")
    text = str(cause).splitlines()[0] if str(cause) else message
    given = next((item.partition("=")[2] for item in overrides if item.lstrip("+").partition("=")[0] == key), None)
    if key.startswith("data.weights."):
        return f"{key}: data.weights is null. Set all weights together: 'data.weights={{ONE:3,OTHER:1}}'."
    if key.startswith("mllm.lora."):
        # Hydra does not put a key into null.
        return f"{key}: mllm.lora is null. Set its keys together: 'mllm.lora={{rank:16,alpha:32}}'."
    if nothing := re.search(r"Interpolation key '(.+)' not found", text):
        new = moved(nothing[1])
        instead = "the full name of a key, or a value" if new is None else f"${{{new}}}"
        return f"{key}: it refers to {nothing[1]}, which is not a key. Use {instead}."
    if key.startswith("data.sources.") and key.count(".") == DEPTH_OF_SOURCES:
        return f"{key}: it is not a data set yet. Compose one there by +data@{key}=folder (shards, shapes)."
    if "not in struct" in str(cause) or re.search(r"Key '.*' not in '", str(cause)):
        return unknown_key(key, keys_beside(cause), given)
    if follows := re.search(r"dereferencing interpolation '\$\{(.+)\}'.*Incompatible value 'None'", text):
        return f"{follows[1]}=null: {key} takes its value from it. Set {key}=VALUE as well, or another {follows[1]}."
    if "Missing mandatory value" in str(cause):
        return f"{key} has no value yet. Set {key}=VALUE."
    if key:
        return f"{key}{'' if given is None else '=' + given}: {text}"
    return text if cause is not error else message.splitlines()[0]


def keys_beside(error: BaseException | None) -> list[str]:
    """The keys of the mapping in which a key was not found."""
    parent = getattr(error, "parent_node", None)
    return (
        [str(key) for key in parent if key != "hydra" and not str(key).startswith("_")]
        if isinstance(parent, DictConfig)
        else []
    )


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
