"""A Hydra config source that adds to each YAML file the defaults of the class in its `_target_`.

The YAML of an option holds `_target_` and only the settings that differ from the class's defaults. Hydra must know
every key before it applies the command line, so this source adds the others, also for classes of the user's own.
"""

from collections.abc import Callable
from contextlib import suppress

from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigResult, ConfigSource
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import DictConfig, OmegaConf

from vtok.common.paths import conf_dir, experiments_dir
from vtok.config.declaration import NotImported, declaration_of

SCHEME = "vtok"


class DeclaredConfigSource(FileConfigSource):
    """A folder of YAML files, `vtok://PATH`."""

    @staticmethod
    def scheme() -> str:
        return SCHEME

    def load_config(self, config_path: str) -> ConfigResult:
        found = super().load_config(config_path)
        if isinstance(found.config, DictConfig):
            with_defaults(found.config)
        return found


class DeclaredSearchPath(SearchPathPlugin):
    """Puts conf/ and experiments/, read by `DeclaredConfigSource`, first in Hydra's search path."""

    def manipulate_search_path(self, search_path) -> None:
        search_path.prepend("vtok", f"{SCHEME}://{experiments_dir()}")
        search_path.prepend("vtok", f"{SCHEME}://{conf_dir()}")


def register_sources() -> None:
    """Register both plugins with Hydra; may be called again."""
    plugins = Plugins.instance()
    for plugin, kind in ((DeclaredConfigSource, ConfigSource), (DeclaredSearchPath, SearchPathPlugin)):
        if plugin not in plugins.discover(kind):
            plugins.register(plugin)


def with_defaults(node: DictConfig, only: Callable[[str], bool] = lambda target: True) -> None:
    """Add the declared defaults to every mapping with a `_target_`, nested ones too.

    Args:
        node: component, or mapping that holds components; changed in place.
        only: whether the class of a `_target_` is read.

    Raises:
        UserError: if a `_target_` does not exist.
    """
    raw = OmegaConf.to_container(node, resolve=False)
    assert isinstance(raw, dict)
    if isinstance(target := raw.get("_target_"), str) and only(target):
        # A class without readable source is imported later, once it is known to be allowed.
        with suppress(NotImported):
            for name, default in declaration_of(target).defaults().items():
                if name not in raw:
                    node[name] = default
    for key, value in raw.items():
        if isinstance(value, dict):
            with_defaults(node[key], only)
