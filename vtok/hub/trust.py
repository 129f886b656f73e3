"""The configuration of an exported folder, which may be a stranger's."""

from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from vtok.config.targets import check_targets
from vtok.errors import UserError
from vtok.hub.files import CONFIG, GROUPS, Part
from vtok.runs import load_config


def trusted_config(folder: Path, part: Part, *, trust: Sequence[str] = ()) -> DictConfig:
    """The configuration, once it is seen to have components built alone.

    Args:
        folder: as `save_pretrained` writes it.
        part: what it holds; what else the configuration names is not looked at.
        trust: packages of one's own, whose components are built too.

    Raises:
        UserError: it cannot be read or is of no such part, refers to something, or names what is not trusted.
    """
    config = load_config(folder)
    absent = [group for group in GROUPS[part] if not isinstance(OmegaConf.select(config, group), DictConfig)]
    if absent:
        raise UserError(
            f"{folder / CONFIG}: it is of no {part}: {absent[0]} is missing; export or download the folder again."
        )
    config.allowed_targets = list(trust)
    check_targets(config, groups=GROUPS[part])
    return config
