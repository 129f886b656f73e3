"""Hydra's composition, with short messages for the mistakes that it finds."""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
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
from vtok.config.budget import Budget, read_budget, settle_budget
from vtok.config.cost_budget import settle_cost
from vtok.config.cross_checks import check_clip
from vtok.config.declaration import declaration_of
from vtok.config.mixture import check_are_components, check_sources, limit_sources
from vtok.config.options import groups, one_of, options_of
from vtok.config.source import SCHEME, register_sources, with_defaults
from vtok.config.targets import check_targets, is_own_target
from vtok.config.values import check_node, check_values, unknown_key

CONFIG_NAME = "config"
RUN_SETTINGS = "vtok.config.run_settings.RunSettings"
# Dots in the key of a mixture's source, data.sources.NAME.
SOURCE_KEY_DOTS = 2
# Options that come with an extra of vtok.
EXTRAS = {
    "hydra/launcher=joblib": "joblib",
    "hydra/launcher=submitit_local": "slurm",
    "hydra/launcher=submitit_slurm": "slurm",
    "hydra/sweeper=optuna": "optuna",
}


def register() -> None:
    """Make the declared settings, conf/ and experiments/ known to Hydra; may be called again."""
    register_sources()
    defaults = declaration_of(RUN_SETTINGS).defaults()
    ConfigStore.instance().store(name="run_settings", node=defaults)


def compose(overrides: Sequence[str] = ()) -> DictConfig:
    """The configuration that `python train.py OVERRIDES` runs with, with the setting that meets `tokeniser.budget`.

    Raises:
        UserError: if an override does not fit, or `tokeniser.budget` cannot be met.
    """
    config = _composed(overrides)
    with _explained(overrides):
        complete(config, overrides)
    return config


def _composed(overrides: Sequence[str], *, hydra: bool = False) -> DictConfig:
    """What Hydra composes, before it is checked; `hydra`: with Hydra's own settings."""
    register()
    with initialize_config_dir(version_base="1.3", config_dir=str(conf_dir())), _explained(overrides):
        return hydra_compose(CONFIG_NAME, overrides=hydra_overrides(overrides), return_hydra_config=hydra)


@contextmanager
def _explained(overrides: Sequence[str]) -> Iterator[None]:
    try:
        yield
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(explain(error, overrides)) from error


def complete(config: DictConfig, overrides: Sequence[str] = ()) -> None:
    """Check a configuration that Hydra composed, and fill in what depends on several settings.

    Raises:
        UserError: if a value does not fit, or `tokeniser.budget` cannot be met.
        OmegaConfBaseException: if a value is missing, or refers to a key that does not exist.
    """
    check_groups(config)
    check_required_groups(config)
    check_are_components(config)
    check_clip(config)
    check_targets(config)
    with open_dict(config):
        with_defaults(config)
    budget = read_budget(config)
    check_sources(config)
    check_all_values(config)
    OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    limit_sources(config)
    settle(config, budget, overrides)


def settle(config: DictConfig, budget: Budget | None, overrides: Sequence[str]) -> None:
    """Set the tokeniser's setting that meets the budget that `read_budget` found, in its currency.

    Raises:
        UserError: if no value meets it, or the overrides set one that does not.
    """
    if budget is None or budget.currency == "tokens":
        settle_budget(config, overrides)
    else:
        settle_cost(config, budget, overrides)


def asked_budget(overrides: Sequence[str]) -> Budget | None:
    """The budget that overrides and files ask for; `compose` sets `tokeniser.budget` to the tokens that it chose."""
    return read_budget(_composed(overrides))


def check_groups(config: DictConfig) -> None:
    """Refuse an option set with a dot: `tokeniser.motion_pooling=grid` puts a string where a component belongs."""
    for group in groups():
        key = group.replace("/", ".")
        value = OmegaConf.select(config, key)
        if value is not None and not isinstance(value, DictConfig):
            raise UserError(
                f"{key}={value}: an option of a group is chosen with a slash, {group}=OPTION. "
                f"{one_of(str(value), options_of(group))}"
            )


def check_required_groups(config: DictConfig) -> None:
    """Every group must be there: `~tokeniser` removes one."""
    for group in (one for one in groups() if "/" not in one):
        if group not in config:
            raise UserError(f"~{group}: a run needs this group. Set {group}=OPTION. {one_of('', options_of(group))}")


def check_all_values(config: DictConfig, only: Callable[[str], bool] = lambda target: True) -> None:
    """Check the run's own settings and those of its components against their declarations.

    Args:
        config: the composed or loaded configuration.
        only: whether the class of a `_target_` is checked.

    Raises:
        UserError: if a key is unknown or a value does not fit.
    """
    own = declaration_of(RUN_SETTINGS)
    components = {group for group in groups() if "/" not in group}
    known = sorted({*own.settings, *components})
    for key in map(str, config):
        if key not in known:
            raise UserError(unknown_key(key, known))
    check_node("", OmegaConf.masked_copy(config, list(own.settings)), own)
    check_values(config, only)


def hydra_overrides(overrides: Sequence[str]) -> list[str]:
    """Overrides as Hydra can read them: strings and paths in quotes, and `resume=PATH` as `resume.path=PATH`.

    Hydra does not accept a value for a key that has keys of its own. Folders of options are read by
    `DeclaredConfigSource`, which adds the defaults that classes declare.

    Raises:
        UserError: if an override cannot be read.
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
    """Check that a group is not set to null or a number, at which Hydra fails.

    Raises:
        UserError: if it is, or the key is missing.
    """
    parsed = parse(item)
    if parsed is None or parsed.is_delete() or not isinstance(parsed.value(), NoneType | bool | int | float):
        return
    if not (group := parsed.key_or_group):
        raise UserError(f"{item}: the key is missing. Use KEY=VALUE or GROUP=OPTION.")
    if group in groups():
        raise UserError(f"{item}: must be the name of an option. {one_of('', options_of(group))}")


def complete_saved(config: DictConfig) -> DictConfig:
    """A configuration from a file, checked, with the declared defaults for keys that it lacks.

    Components of other packages stay as they are: the file may not be trusted, and their code is not read.

    Raises:
        UserError: if a key is unknown or a value does not fit.
    """
    completed = OmegaConf.merge(OmegaConf.create(declaration_of(RUN_SETTINGS).defaults()), config)
    assert isinstance(completed, DictConfig)
    with_defaults(completed, only=is_own_target)
    check_all_values(completed, only=is_own_target)
    limit_sources(completed)
    return completed


def explain(error: Exception, overrides: Sequence[str]) -> str:
    """A short message for an error of Hydra or OmegaConf."""
    message = str(error)
    if sweep := re.search(r"(?:Ambiguous value for argument|Sweep parameters) '(.+)'", message):
        key, _, value = sweep[1].partition("=")
        one_string = "" if "(" in value else f" Quote it if it is one string: {command(f'{key}={quoted(value)}')}"
        return f"{sweep[1]}: a list of values is a sweep. Use -m to run one job for each value.{one_string}"
    if group := re.search(r"Could not find '(.+)/([^/']+)'", message):
        if extra := EXTRAS.get(f"{group[1]}={group[2]}"):
            return f"{group[1]}={group[2]}: this option is not installed. Install it with pip install 'vtok[{extra}]'."
        return f"{group[1]}={group[2]}: unknown option. {one_of(group[2], options_of(group[1]))}"
    if added := re.search(
        r"Could not override '([^']+@[^']+)'[^+]*To append to your default list use (\+\S+)", message
    ):
        return f"{added[1]}: there is nothing to replace yet. Use {added[2]}."
    if group := re.search(r"Could not override '([^']+)'\. No match in the defaults list", message):
        if group[1] in groups():
            outer, _, inner = group[1].rpartition("/")
            return f"{group[1]}: the chosen {outer} takes no {inner}. Remove it, or choose another {outer}."
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
        # Hydra cannot set a key below null.
        return f"{key}: mllm.lora is null. Set its keys together: 'mllm.lora={{rank:16,alpha:32}}'."
    if nothing := re.search(r"Interpolation key '(.+)' not found", text):
        return f"{key}: it refers to {nothing[1]}, which is not a key. Use the full name of a key, or a value."
    if key.startswith("data.sources.") and key.count(".") == SOURCE_KEY_DOTS:
        return f"{key}: it is not a data set yet. Add one with +data@{key}=folder (or shards, shapes)."
    if "not in struct" in str(cause) or re.search(r"Key '.*' not in '", str(cause)):
        return unknown_key(key, sibling_keys(cause), elsewhere=keys_of_groups(cause, key.rpartition(".")[2]))
    if follows := re.search(r"dereferencing interpolation '\$\{(.+)\}'.*Incompatible value 'None'", text):
        return f"{follows[1]}=null: {key} takes its value from it. Set {key}=VALUE as well, or another {follows[1]}."
    if "Missing mandatory value" in str(cause):
        return f"{key} has no value yet. Set {key}=VALUE."
    if key:
        return f"{key}{'' if given is None else '=' + given}: {text}"
    return text if cause is not error else message.splitlines()[0]


def sibling_keys(error: BaseException | None) -> list[str]:
    """The keys of the mapping that lacks a key."""
    parent = getattr(error, "parent_node", None)
    return (
        [str(key) for key in parent if key != "hydra" and not str(key).startswith("_")]
        if isinstance(parent, DictConfig)
        else []
    )


def keys_of_groups(error: BaseException | None, name: str) -> list[str]:
    """The keys called `name` that groups of the configuration have, such as clip.num_frames."""
    parent = getattr(error, "parent_node", None)
    root = parent._get_root() if isinstance(parent, DictConfig) else None
    if not isinstance(root, DictConfig):
        return []
    found = [(str(group), root._get_node(group)) for group in root]
    return [f"{group}.{name}" for group, keys in found if isinstance(keys, DictConfig) and name in keys]


def sweep_params(overrides: Sequence[str]) -> dict[str, str] | None:
    """The sweep file's values by key; None if these overrides make a single run."""
    hydra = _composed(overrides, hydra=True).hydra
    if hydra.mode != RunMode.MULTIRUN:
        return None
    return {str(key): str(value) for key, value in (hydra.sweeper.params or {}).items()}
