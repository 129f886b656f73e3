"""The configuration of an exported folder, which may be a stranger's."""

from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig

from vtok.config.targets import check_targets
from vtok.hub.files import GROUPS, Part
from vtok.runs.folder import load_config


def trusted_config(folder: Path, part: Part, *, trust: Sequence[str] = ()) -> DictConfig:
    """The configuration, once it is seen to have components built alone.

    Args:
        folder: as `save_pretrained` writes it.
        part: what it holds; what else the configuration names is not looked at.
        trust: packages of one's own, whose components are built too.

    Raises:
        UserError: it cannot be read or is of no such part, refers to something, or names what is not trusted.
    """
    config = load_config(folder, groups=GROUPS[part])
    config.allowed_targets = list(trust)
    check_targets(config, groups=GROUPS[part])
    return config
