"""Which classes a configuration may have built: components, each where its kind belongs, and nothing else.

A configuration names code that is run, and it may be a stranger's: that of a run folder, of an exported folder or of
the hub. The options of this project are known by name. Any other class must derive from the contract of its group, and
lie in this project, in `torch.optim`, or in a package that the user allows; no folder has a say in that.
"""

import inspect
import sys
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from vtok.common.errors import UserError
from vtok.config.options import groups, targets_of

OWN = "vtok"
LIBRARIES = ("torch", "transformers", "diffusers", "accelerate")
# What stands in a component of somebody's own, below a key that is not a group.
PART = ""
# Modules whose classes are taken unasked, by the group.
OPEN = {"optimiser": "torch.optim", PART: "torch.nn"}


def check_targets(config: DictConfig, *, groups: Collection[str] | None = None) -> None:
    """Refuse a configuration that would have anything but components built.

    Args:
        config: its `allowed_targets` are the packages that the user trusts; of a configuration from a folder they are
            put there by the caller.
        groups: the top-level keys that are looked at; all where None.

    Raises:
        UserError: a `_target_` is not a component of its group, or lies in a package that is not allowed.
    """
    for keys, target in named_in(OmegaConf.to_container(config, resolve=True), ()):
        if groups is None or keys[0] in groups:
            check_target(target, ".".join((*keys, "_target_")), group_of(keys), allowed=list(config.allowed_targets))


def is_of_the_project(target: str) -> bool:
    """Whether a `_target_` lies in this project."""
    return is_within(target, OWN)


def named_in(node: Any, keys: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every `_target_` in mappings and lists, with the keys that lead to it; None for a component without one."""
    if isinstance(node, dict):
        if "_target_" in node or group_of(keys) != PART:
            yield keys, node.get("_target_")
        for key, value in node.items():
            yield from named_in(value, (*keys, str(key)))
    elif isinstance(node, list):
        for number, value in enumerate(node):
            yield from named_in(value, (*keys, str(number)))


def group_of(keys: tuple[str, ...]) -> str:
    """The group of which an option stands at a place of the configuration; PART for a part of a component."""
    # Each source of a mixture is a data set.
    if len(keys) > 2 and keys[:2] == ("data", "sources"):
        keys = ("data", *keys[3:])
    if keys in (("tokeniser", "backbone"), ("data", "clip")):
        return keys[-1]
    group = "/".join(keys)
    return group if group in groups() else PART


def check_target(target: Any, key: str, group: str, *, allowed: Sequence[str]) -> None:
    """Refuse what is not a component of a group.

    Args:
        target: the value of `_target_`.
        key: its full key, for the message.
        group: the group, or PART.
        allowed: packages that the user trusts.

    Raises:
        UserError: it is none.
    """
    if not isinstance(target, str):
        raise UserError(f"{key}={target}: this must be the name of a class, such as vtok.backbone.TinyBackbone.")
    if any(target in targets_of(one) for one in ([group] if group in groups() else groups())):
        return
    package = target.partition(".")[0]
    way_out = f"Use an option of {group or 'a group'}, or a class of your own that derives from its kind."
    if not any(is_within(target, place) for place in (OWN, OPEN.get(group, OWN), *allowed)):
        if package in (*LIBRARIES, *sys.stdlib_module_names) or not package.isidentifier():
            raise UserError(f"{key}={target}: this is not a component, and is not run. {way_out}")
        raise UserError(
            f"{key}={target}: code of the package {package} is not run unasked. If you trust it, set "
            f"'allowed_targets=[{','.join([*allowed, package])}]' (in Python allowed_targets or trust)."
        )
    found = imported(target, key)
    if not is_component(found, group, [name for name in allowed if name not in (OWN, *LIBRARIES)]):
        raise UserError(f"{key}={target}: this is not a component, and is not run. {way_out}")


def imported(target: str, key: str) -> Any:
    """What a name means, found as Hydra finds it; raises UserError where it means nothing."""
    from hydra.utils import get_object

    try:
        return get_object(target)
    except (ImportError, AttributeError, ValueError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{key}={target}: it cannot be imported ({reason}).") from error


def is_component(found: Any, group: str, own: Sequence[str]) -> bool:
    """Whether something may stand in a group.

    Args:
        found: class or function.
        group: the group, or PART.
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

    contracts: dict[str, type] = {
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
        PART: nn.Module,
    }
    is_class = isinstance(found, type)
    if is_class and group in contracts and issubclass(found, contracts[group]):
        return not inspect.isabstract(found)
    # Schedules come from functions as well, and a part of one's own component is of any kind.
    is_own = any(is_within(str(getattr(found, "__module__", "")), package) for package in own)
    return is_own and (is_class if group == PART else group == "scheduler" and callable(found))


def is_within(name: str, place: str) -> bool:
    """Whether a dotted name is a module or package, or lies in it."""
    return name == place or name.startswith(f"{place}.")
