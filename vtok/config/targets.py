"""Checks which classes a configuration may build: components of the right group, and nothing else.

A configuration names code that is run, and it may come from a run folder, an exported folder or the hub of somebody
else. The classes of this project's options are allowed by name. Any other class must derive from the base class of its
group, and be in this project, in `torch.optim`, or in a package that the user allows. A folder cannot allow packages.
"""

import inspect
import sys
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from vtok.common.errors import UserError
from vtok.common.foreign_files import reason_of
from vtok.config.options import groups, targets_of

OWN = "vtok"
LIBRARIES = ("torch", "transformers", "diffusers", "accelerate")
# The group of a `_target_` below a key that is not a group, inside a component of the user's own.
NO_GROUP = ""
# Modules that are always allowed, by group.
ALLOWED_MODULES = {"optimiser": "torch.optim", NO_GROUP: "torch.nn"}


def check_targets(config: DictConfig, *, groups: Collection[str] | None = None) -> None:
    """Refuse a configuration that would build anything but components.

    Args:
        config: configuration whose `allowed_targets` are the packages that the user trusts; if it was loaded from a
            folder, the caller has set them.
        groups: top-level keys to check; None: all.

    Raises:
        UserError: if a `_target_` is not a component of its group, or is in a package that is not allowed.
    """
    for keys, target in targets_in(OmegaConf.to_container(config, resolve=True), ()):
        if groups is None or keys[0] in groups:
            check_target(target, ".".join((*keys, "_target_")), group_of(keys), allowed=list(config.allowed_targets))


def is_own_target(target: str) -> bool:
    """Whether a `_target_` is in this project."""
    return is_within(target, OWN)


def targets_in(node: Any, keys: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every `_target_` in mappings and lists, with its keys; None for a group without one."""
    if isinstance(node, dict):
        if "_target_" in node or group_of(keys) != NO_GROUP:
            yield keys, node.get("_target_")
        for key, value in node.items():
            yield from targets_in(value, (*keys, str(key)))
    elif isinstance(node, list):
        for number, value in enumerate(node):
            yield from targets_in(value, (*keys, str(number)))


def group_of(keys: tuple[str, ...]) -> str:
    """The group whose options belong at these keys; NO_GROUP inside a component."""
    # The source of twins is a data set, and so is each source of a mixture.
    if keys[:2] == ("data", "source"):
        keys = ("data", *keys[2:])
    if len(keys) > 2 and keys[:2] == ("data", "sources"):
        keys = ("data", *keys[3:])
    if keys in (("tokeniser", "backbone"), ("data", "clip")):
        return keys[-1]
    group = "/".join(keys)
    return group if group in groups() else NO_GROUP


def check_target(target: Any, key: str, group: str, *, allowed: Sequence[str]) -> None:
    """Refuse what is not a component of a group.

    Args:
        target: value of `_target_`.
        key: full key of the `_target_`, for the message.
        group: name of the group, or NO_GROUP.
        allowed: packages that the user trusts.

    Raises:
        UserError: if the target is not a component of the group, or not allowed.
    """
    if not isinstance(target, str):
        raise UserError(
            f"{key}={target}: must be the full name of a class. Use a name such as vtok.backbone.TinyBackbone."
        )
    if any(target in targets_of(one) for one in ([group] if group in groups() else groups())):
        return
    package = target.partition(".")[0]
    way_out = f"Use an option of {group or 'a group'}, or a class of your own that derives from its base class."
    if not any(is_within(target, place) for place in (OWN, ALLOWED_MODULES.get(group, OWN), *allowed)):
        if package in (*LIBRARIES, *sys.stdlib_module_names) or not package.isidentifier():
            raise UserError(f"{key}={target}: this is not a component, and was not run. {way_out}")
        trusted = ",".join([*allowed, package])
        raise UserError(
            f"{key}={target}: the package {package} is not trusted, and its code was not run. "
            f"Set 'allowed_targets=[{trusted}]' if you trust it (in Python the argument allowed_targets or trust)."
        )
    found = import_target(target, key)
    if not is_component(found, group, [name for name in allowed if name not in (OWN, *LIBRARIES)]):
        raise UserError(f"{key}={target}: this is not a component, and was not run. {way_out}")


def import_target(target: str, key: str) -> Any:
    """Import the class or function of a full name, as Hydra does.

    Raises:
        UserError: if it cannot be imported.
    """
    from hydra.utils import get_object

    try:
        return get_object(target)
    except (ImportError, AttributeError, ValueError) as error:
        reason = reason_of(error)
        raise UserError(
            f"{key}={target}: it cannot be imported ({reason}). Check the name, and that its package is installed."
        ) from error


def is_component(found: Any, group: str, own: Sequence[str]) -> bool:
    """Whether a class or function is a component of a group.

    Args:
        found: class or function.
        group: name of the group, or NO_GROUP.
        own: packages that the user trusts.
    """
    from torch import nn, optim

    from vtok.backbone import Backbone
    from vtok.data import Augmentation, ClipSettings, DataSource, LoaderSettings
    from vtok.decoder import Decoder
    from vtok.evaluation import Alignment, Generation
    from vtok.evaluation.judge import Judge
    from vtok.mllm import LanguageModel
    from vtok.model import Objective
    from vtok.tokeniser import MotionPooling, Tokeniser
    from vtok.tracking import Tracker
    from vtok.training import Trainer
    from vtok.training.parallel import Parallel
    from vtok.visual_head import VisualHead

    base_classes: dict[str, type] = {
        "backbone": Backbone,
        "tokeniser": Tokeniser,
        "tokeniser/motion_pooling": MotionPooling,
        "mllm": LanguageModel,
        "visual_head": VisualHead,
        "decoder": Decoder,
        "clip": ClipSettings,
        "loader": LoaderSettings,
        "data": DataSource,
        "data/augmentation": Augmentation,
        "optimiser": optim.Optimizer,
        "objective": Objective,
        "trainer": Trainer,
        "trainer/parallel": Parallel,
        "evaluation": Alignment,
        "generation": Generation,
        "generation/judge": Judge,
        "tracking": Tracker,
        NO_GROUP: nn.Module,
    }
    is_class = isinstance(found, type)
    if is_class and group in base_classes and issubclass(found, base_classes[group]):
        return not inspect.isabstract(found)
    # A schedule may be a function, and a component of the user's own may hold objects of any class.
    is_own = any(is_within(str(getattr(found, "__module__", "")), package) for package in own)
    return is_own and (is_class if group == NO_GROUP else group == "scheduler" and callable(found))


def is_within(name: str, place: str) -> bool:
    """Whether a dotted name is a module or package, or is inside it."""
    return name == place or name.startswith(f"{place}.")
