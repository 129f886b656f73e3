"""Short messages for the errors of Hydra and OmegaConf."""

import re
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from vtok.common.errors import UserError
from vtok.common.overrides import command, quoted
from vtok.config.declaration import declaration_of
from vtok.config.hints import OPTIONS
from vtok.config.options import groups, one_of, option_of, options_of
from vtok.config.values import alternatives, unknown_key

# Dots in the key of a mixture's source, data.sources.NAME.
SOURCE_KEY_DOTS = 2
# Options that come with an extra of vtok.
EXTRAS = {
    "hydra/launcher=joblib": "joblib",
    "hydra/launcher=submitit_local": "slurm",
    "hydra/launcher=submitit_slurm": "slurm",
    "hydra/sweeper=optuna": "optuna",
}


class MissingValue(UserError):
    """A key that has no default is not set.

    Attributes:
        needed: KEY=VALUE or KEY=PATH.
    """

    def __init__(self, message: str, needed: str) -> None:
        super().__init__(f"{message} Set {needed}.")
        self.needed = needed


def explain(error: Exception, overrides: Sequence[str]) -> str:
    """A short message for an error of Hydra or OmegaConf."""
    message = str(error)
    if sweep := re.search(r"(?:Ambiguous value for argument|Sweep parameters) '(.+)'", message):
        key, _, value = sweep[1].partition("=")
        one_string = "" if "(" in value else f" Quote it if it is one string: {command(f'{key}={quoted(value)}')}"
        return f"{sweep[1]}: a list of values is a sweep. Use -m to run one job for each value.{one_string}"
    if group := re.search(r"Could not find '(.+)/([^/']+)'", message):
        if extra := EXTRAS.get(f"{group[1]}={group[2]}"):
            return f"{group[1]}={group[2]}: this option is not installed. Install it with pip install 'vtok[{extra}]'."
        hint = OPTIONS.get(f"{group[1]}={group[2]}")
        return f"{group[1]}={group[2]}: unknown option. {hint or one_of(group[2], options_of(group[1]))}"
    if added := re.search(
        r"Could not override '([^']+@[^']+)'[^+]*To append to your default list use (\+\S+)", message
    ):
        return f"{added[1]}: there is nothing to replace yet. Use {added[2]}."
    if group := re.search(r"Could not override '([^']+)'\. No match in the defaults list", message):
        if group[1] in groups():
            outer, _, inner = group[1].rpartition("/")
            return f"{group[1]}: the chosen {outer} takes no {inner}. Remove it, or choose another {outer}."
        return f"{group[1]}: unknown group. {one_of(group[1], groups())}"
    if added := re.search(r"An item is already at '(.+)'\.\s*Either remove \+ prefix: '(.+)'", message):
        return f"{added[1]}: this key exists already. Use {added[2]}, without a plus sign."
    cause = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else error
    key = getattr(cause, "full_key", None) or (found[1] if (found := re.search(r"full_key: (\S+)", message)) else "")
    text = str(cause).splitlines()[0] if str(cause) else message
    given = next((item.partition("=")[2] for item in overrides if item.lstrip("+").partition("=")[0] == key), None)
    if key.startswith("data.weights."):
        return f"{key}: data.weights is null. Set all weights together: 'data.weights={{ONE:3,OTHER:1}}'."
    if key.startswith("mllm.lora."):
        # Hydra cannot set a key below null.
        return f"{key}: mllm.lora is null. Set its keys together: 'mllm.lora={{rank:16,alpha:32}}'."
    if nothing := re.search(r"Interpolation key '(.+)' not found", text):
        return f"{key}: it refers to {nothing[1]}, which is not a key. Use the full name of a key, or a value."
    if key.startswith("data.sources.") and key.count(".") == SOURCE_KEY_DOTS:
        return f"{key}: it is not a data set yet. Add one with +data@{key}=folder (or shards, shapes)."
    if "not in struct" in str(cause) or re.search(r"Key '.*' not in '", str(cause)):
        return unknown_key(key, sibling_keys(cause), elsewhere=keys_of_groups(cause, key.rpartition(".")[2]))
    if follows := re.search(r"dereferencing interpolation '\$\{(.+)\}'.*Incompatible value 'None'", text):
        return f"{follows[1]}=null: {key} takes its value from it. Set {key}=VALUE as well, or another {follows[1]}."
    if isinstance(cause, MissingMandatoryValue):
        return str(missing_value(cause))
    if key:
        return f"{key}{'' if given is None else '=' + given}: {text}"
    return text if cause is not error else message.splitlines()[0]


def missing_value(error: MissingMandatoryValue) -> MissingValue:
    """The message for a key that an option requires: which option, and what the key means."""
    key, node = str(error.full_key), error.parent_node
    target = node.get("_target_") if isinstance(node, DictConfig) else None
    setting = None if target is None else declaration_of(str(target)).settings.get(key.rpartition(".")[2])
    if setting is None:
        return MissingValue(f"{key} has no value.", f"{key}=VALUE")
    group = key.partition(".")[0]
    chosen = OmegaConf.select(node._get_root(), f"{group}._target_")
    option = option_of(str(chosen), group) or chosen
    meaning = setting.help.partition(". ")[0].rstrip(".")
    kind = "PATH" if Path in alternatives(setting.type) else "VALUE"
    return MissingValue(f"{key} is required by {option}: {meaning}.", f"{key}={kind}")


def sibling_keys(error: BaseException | None) -> list[str]:
    """The keys of the mapping that lacks a key."""
    parent = getattr(error, "parent_node", None)
    return (
        [str(key) for key in parent if key != "hydra" and not str(key).startswith("_")]
        if isinstance(parent, DictConfig)
        else []
    )


def keys_of_groups(error: BaseException | None, name: str) -> list[str]:
    """The keys called `name` that groups of the configuration have, such as clip.num_frames."""
    parent = getattr(error, "parent_node", None)
    root = parent._get_root() if isinstance(parent, DictConfig) else None
    if not isinstance(root, DictConfig):
        return []
    found = [(str(group), root._get_node(group)) for group in root]
    return [f"{group}.{name}" for group, keys in found if isinstance(keys, DictConfig) and name in keys]
