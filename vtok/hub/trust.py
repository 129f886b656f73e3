"""The configuration of an exported folder, which names code that is run, and may be a stranger's."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from vtok.config.schemas import OPTIONS
from vtok.errors import UserError
from vtok.hub.files import CONFIG, GROUPS, Part
from vtok.pretrained import first_line
from vtok.runs import load_config

COMPONENTS = {str(vars(schema)["_target_"]) for options in OPTIONS.values() for schema in options.values()}


def trusted_config(folder: Path, part: Part, *, trust: Sequence[str] = (), whole: bool = False) -> DictConfig:
    """The configuration, once it is seen to have this project's own components built alone.

    What the file itself allows (`allowed_targets`) counts for nothing, and a package that is allowed to train with
    (torch, transformers) has functions that run or load what a file says, so that components are known one by one.

    Args:
        folder: as `save_pretrained` writes it.
        part: what it holds.
        trust: packages of one's own, whose components are built too.
        whole: look at every group, for callers that build more than the part, such as its data source.

    Raises:
        UserError: it cannot be read or is of no such part, refers to something, or names what is not trusted.
    """
    file = folder / CONFIG
    try:
        config = OmegaConf.to_container(OmegaConf.load(file), resolve=False)
    except (OSError, UnicodeError, YAMLError, OmegaConfBaseException) as error:
        raise UserError(f"{file}: it cannot be read ({first_line(error)}).") from error
    groups = config if isinstance(config, dict) else {}
    absent = [group for group in GROUPS[part] if not isinstance(groups.get(group), dict)]
    if absent:
        raise UserError(f"{file}: it is of no {part}: {absent[0]} is missing; export or download the folder again.")
    for path, value in leaves(config, ""):
        if path.partition(".")[0] not in GROUPS[part] and not whole:
            continue
        # What it refers to could be another thing when it is built than when it is looked at.
        if isinstance(value, str) and "${" in value:
            raise UserError(f"{file}: {path}={value}: vtok export writes no references, and none is followed.")
        if path.rpartition(".")[2] == "_target_" and not is_trusted(value, trust):
            package = str(value).partition(".")[0]
            raise UserError(
                f"{path}={value}: it is no component of this project, and is not run. If you trust the package, load "
                f"the folder in Python by vtok.hub.from_pretrained(..., trust=[{package!r}])."
            )
    return load_config(folder)


def is_trusted(target: Any, trust: Sequence[str]) -> bool:
    """Whether a `_target_` is a component of this project or lies in a package of `trust`."""
    return target in COMPONENTS or str(target).partition(".")[0] in trust


def leaves(node: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Every value below a node that is neither a mapping nor a list, with its place: ("mllm._target_", "...")."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield from leaves(value, f"{path}.{key}".lstrip("."))
    elif isinstance(node, list):
        for number, value in enumerate(node):
            yield from leaves(value, f"{path}[{number}]")
    else:
        yield path, node
