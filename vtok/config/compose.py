"""Hydra's composition, with short messages for the mistakes that it finds."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import NoneType

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from vtok.common.errors import UserError
from vtok.common.overrides import parse, readable
from vtok.common.paths import conf_dir
from vtok.config.budget import Budget, read_budget, settle_budget
from vtok.config.cost_budget import settle_cost
from vtok.config.cross_checks import check_clip
from vtok.config.declaration import declaration_of
from vtok.config.explain import explain, missing_value
from vtok.config.mixture import check_are_components, check_sources, limit_sources
from vtok.config.options import groups, one_of, options_of
from vtok.config.source import SCHEME, register_sources, with_defaults
from vtok.config.targets import check_targets, is_own_target
from vtok.config.values import check_node, check_values, unknown_key

CONFIG_NAME = "config"
RUN_SETTINGS = "vtok.config.run_settings.RunSettings"


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
    except MissingMandatoryValue as error:
        raise missing_value(error) from error
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


def sweep_params(overrides: Sequence[str]) -> dict[str, str] | None:
    """The sweep file's values by key; None if these overrides make a single run."""
    hydra = _composed(overrides, hydra=True).hydra
    if hydra.mode != RunMode.MULTIRUN:
        return None
    return {str(key): str(value) for key, value in (hydra.sweeper.params or {}).items()}
