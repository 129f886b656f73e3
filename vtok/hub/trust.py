"""Loads the configuration of an exported folder, which may not be trustworthy."""

from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig

from vtok.config.targets import check_targets
from vtok.hub.files import GROUPS, Part
from vtok.runs.folder import load_config


def trusted_config(folder: Path, part: Part, *, trust: Sequence[str] = ()) -> DictConfig:
    """The configuration of an exported folder, after a check that it only builds trusted components.

    Args:
        folder: exported folder.
        part: part that it holds; other groups of the configuration are not loaded.
        trust: packages of the user's own whose components may be built.

    Raises:
        UserError: if it cannot be read, lacks a group of the part, holds references, or names code that is not trusted.
    """
    config = load_config(folder, groups=GROUPS[part])
    config.allowed_targets = list(trust)
    check_targets(config, groups=GROUPS[part])
    return config
