"""The text of `--help`: groups and options in conf/, and the settings that their classes declare."""

import re
from collections.abc import Sequence
from textwrap import wrap
from typing import Any

import yaml

from vtok.common.errors import UserError
from vtok.common.paths import conf_dir
from vtok.common.source_values import ClassReference
from vtok.config.compose import RUN_SETTINGS, groups, one_of, options_of
from vtok.config.declaration import Declaration, declaration_of, is_dataclass_of_settings
from vtok.config.signature import Setting
from vtok.config.values import command_line_help, type_text, value_text

WIDTH = 118
# A line of the defaults list in config.yaml with its comment: "  - backbone: tiny   # frames -> feature maps".
DEFAULT = re.compile(r"^  - (\w+): (\w+)\s*(?:#\s*(.*))?$", re.MULTILINE)
USAGE = """\
VTok: compare ways of turning a video into tokens for a multimodal language model.

python train.py [GROUP=OPTION ...] [KEY=VALUE ...]      the same as: vtok train ...
python train.py GROUP=OPTION --help                     the settings of an option"""
EXAMPLES = """\
Examples
  python train.py                                        train on synthetic clips, in minutes, with nothing downloaded
  python train.py backbone=clip tokeniser.stride=6       another backbone, another stride
  python train.py -m tokeniser.stride=3,6,10             one run for each value
  python train.py sweep=stride                           an ablation from experiments/sweep
  vtok precompute out=FEATURES backbone=clip; python train.py backbone=clip data.cache=FEATURES
                                                         a frozen backbone's features once, then no decoding
  vtok toys; python train.py recipe=paper_tiny           the paper's recipe with toy models of the same classes
  python train.py debug=smoke                            does it run at all? seconds
  python train.py --cfg job                              print the composed config and stop

Other verbs: vtok --help. Hydra's own flags: python train.py --hydra-help"""


def help_text(overrides: Sequence[str] = ()) -> str:
    """The settings of the options that the overrides choose; an overview if they choose none."""
    chosen = [item.partition("=")[::2] for item in overrides]
    for group, option in chosen:
        own = any(item.startswith("hydra.searchpath=") for item in overrides)
        if group in groups() and option not in options_of(group) and not own:
            raise UserError(f"{group}={option}: unknown option. {one_of(option, options_of(group))}")
    known = [(group, option) for group, option in chosen if group in groups() and option in options_of(group)]
    return "\n\n".join(option_help(group, option) for group, option in known) if known else overview()


def overview() -> str:
    """All groups with their options; a star marks the default."""
    text = (conf_dir() / "config.yaml").read_text(encoding="utf-8")
    described = {group: (default, what) for group, default, what in DEFAULT.findall(text)}
    lines = ["Groups (GROUP=OPTION; * is the default)"]
    for group, (default, what) in described.items():
        lines += _row(group, options_of(group), default, what)
        for inner in (one for one in groups() if one.startswith(f"{group}/")):
            lines += _row(inner, options_of(inner), _inner_default(group, default, inner), "")
    settings = ", ".join(declaration_of(RUN_SETTINGS).settings)
    return "\n".join([USAGE, "", *lines, "", f"Settings of a run: {settings}", "", EXAMPLES])


def option_help(group: str, option: str) -> str:
    """The comment of an option's YAML file, and its settings with default, allowed values and meaning."""
    text = (conf_dir() / group / f"{option}.yaml").read_text(encoding="utf-8")
    written = yaml.safe_load(text)
    node: dict[str, Any] = written.get(group, written)
    comments = [line.removeprefix("#").strip() for line in text.splitlines() if line.startswith("# ")]
    header = [f"  {line}" for line in comments if not line.startswith("@package")]
    settings = setting_lines(group, node, declaration_of(str(node["_target_"])))
    return "\n".join([f"{group}={option}: {node['_target_']}", *header, "", *(settings or ["  no settings"])])


def setting_lines(group: str, node: dict[str, Any], declared: Declaration) -> list[str]:
    """One paragraph for each setting: full key and default, type, and help."""
    lines: list[str] = []
    for one in declared.settings.values():
        inner = f"{group}/{one.name}"
        key = f"{group.replace('/', '.')}.{one.name}"
        if inner in groups():
            lines.append(f"  {inner}={chosen_inside(node, one.name)}    (one of {', '.join(options_of(inner))})")
        elif one.is_given_by_code:
            continue
        elif str(node.get(one.name)) in {f"${{{other}}}" for other in groups()}:
            lines.append(f"  {key}={node[one.name]}    (the settings {one.name}.*)")
            continue
        else:
            lines.append(f"  {key}={_default(one, node)}    ({type_text(one.type)})")
        lines += wrap(command_line_help(one.help), WIDTH, initial_indent="      ", subsequent_indent="      ")
        if isinstance(one.type, ClassReference) and is_dataclass_of_settings(one.type.target):
            inside = setting_lines(one.name, {}, declaration_of(one.type.target))
            lines += [f"      {line.replace(f'{one.name}.', '', 1)}" for line in inside]
    return lines


def _default(one: Setting, node: dict[str, Any]) -> str:
    if one.name in node:
        return value_text(node[one.name])
    return value_text(one.default) if one.is_plain else "???"


def _row(group: str, options: Sequence[str], default: str, what: str) -> list[str]:
    depth = "    " if "/" in group else "  "
    starred = ", ".join(f"{one}*" if one == default else one for one in options)
    head = f"{depth}{group:<{32 - len(depth)}}"
    return [f"{head}{what}", f"{'':<32}  {starred}"] if what else [f"{head}  {starred}"]


def chosen_inside(node: dict[str, Any], name: str) -> str:
    """The option of the nested group `name` that an option's file chooses by default, or ""."""
    return next((item[name] for item in node.get("defaults", []) if isinstance(item, dict) and name in item), "")


def _inner_default(group: str, option: str, inner: str) -> str:
    written = yaml.safe_load((conf_dir() / group / f"{option}.yaml").read_text(encoding="utf-8"))
    return chosen_inside(written, inner.rpartition("/")[2])
