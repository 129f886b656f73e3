"""Configuration nodes to objects."""

from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig

from vtok.common.errors import UserError


def build(node: DictConfig, *args: Any, plain: bool = False) -> Any:
    """Instantiate a component.

    Args:
        node: its configuration.
        args: what the code gives it before its settings.
        plain: hand lists on as Python's own.

    Raises:
        UserError: the component's own, without Hydra's wrapping.
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
