"""Builds objects from configuration nodes."""

from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig

from vtok.common.errors import UserError


def build(node: DictConfig, *args: Any, plain: bool = False) -> Any:
    """Instantiate a component.

    Args:
        node: configuration of the component.
        args: positional arguments, which go before the settings.
        plain: whether lists and mappings are converted to Python's own.

    Raises:
        UserError: if the component raises it; Hydra's wrapping is removed.
    """
    try:
        return instantiate(node, *args, _convert_="all" if plain else "none")
    except InstantiationException as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, UserError):
            cause = cause.__cause__
        if isinstance(cause, UserError):
            raise cause from error
        raise
