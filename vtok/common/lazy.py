"""Packages that import their names on first use."""

import importlib
import sys
from collections.abc import Callable
from typing import Any

from vtok.common.source_code import module


def lazy_exports(package: str) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` of a package whose `__init__` imports its names under `if TYPE_CHECKING:` (PEP 562).

    Importing the package then costs nothing; using one of its names imports that name's module alone.
    """

    def get(name: str) -> Any:
        source = module(package)
        if source is None or name not in source.imports:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        origin, attribute = source.imports[name]
        value = getattr(importlib.import_module(origin), attribute) if attribute else importlib.import_module(origin)
        setattr(sys.modules[package], name, value)
        return value

    def names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *sys.modules[package].__all__})

    return get, names
