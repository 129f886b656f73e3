"""How an argument of a verb is declared."""

from dataclasses import field
from typing import Any


def key(default: Any, meaning: str) -> Any:
    """An argument with what `--help` says of it."""
    return field(default=default, metadata={"meaning": meaning})
