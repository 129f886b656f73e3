"""The reference pages, written from the declarations of components and verbs when the documentation is built.

`mkdocs.yml` names this file as a hook: `settings.md` and `commands.md` exist in the site alone.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import yaml

from vtok.cli.dispatch import arguments_of, verbs
from vtok.common.paths import conf_dir
from vtok.common.source_code import find
from vtok.common.source_values import ClassReference
from vtok.config.compose import RUN_SETTINGS, groups, options_of
from vtok.config.declaration import Declaration, declaration_of, is_dataclass_of_settings
from vtok.config.signature import REQUIRED, Setting
from vtok.config.values import command_line_help, type_text, value_text

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files

SETTINGS_INTRO = """\
# Settings

Every key of every option, read from the signature and docstring of its class. A key is written as
`python train.py KEY=VALUE`, an option is chosen by `python train.py GROUP=OPTION`. The same from the command line:
`python train.py GROUP=OPTION --help`. How settings are composed and checked: [Configuration](configuration.md).
"""
COMMANDS_INTRO = """\
# Commands

Every verb of `vtok VERB [KEY=VALUE ...]`, read from the signature and docstring of its function. The same from the
command line: `vtok VERB --help`. `vtok train` is `python train.py`; its keys are the [settings](settings.md).
"""
HEADER = ["| key | default | must be | meaning |", "| --- | --- | --- | --- |"]


def on_files(files: "Files", config: "MkDocsConfig") -> "Files":
    """mkdocs calls it with the pages it has found."""
    # Not at the top: what the pages say is tested where mkdocs is not installed.
    from mkdocs.structure.files import File

    files.append(File.generated(config, "settings.md", content=settings_page()))
    files.append(File.generated(config, "commands.md", content=commands_page()))
    return files


def settings_page() -> str:
    """All groups, their options and the settings of these, as Markdown."""
    lines = [SETTINGS_INTRO, "## Settings of a run", "", *table(rows("", {}, declaration_of(RUN_SETTINGS)))]
    for group in groups():
        described = [text for option in options_of(group) if (text := option_section(group, option))]
        if described:
            lines += [f"## {group}", "", *described]
    return "\n".join(lines) + "\n"


def option_section(group: str, option: str) -> str:
    """One option: what its YAML says of it, and its settings; "" for files that hold overrides alone."""
    text = conf_dir() / group / f"{option}.yaml"
    if not text.is_file():
        return ""
    content = text.read_text(encoding="utf-8")
    written = yaml.safe_load(content) or {}
    node = written.get(group, written)
    if not isinstance(node, dict) or "_target_" not in node:
        return ""
    comments = [line[2:] for line in content.splitlines() if line.startswith("# ") and "@package" not in line]
    prose = [line for line in comments if not line.startswith("  ")]
    commands = [line.strip() for line in comments if line.startswith("  ")]
    target = str(node["_target_"])
    lines = [f"### {group}={option}", "", escape(" ".join(prose)), "", f"`{target}`", ""]
    if commands:
        lines += ["```", *commands, "```", ""]
    lines += table(rows(group, node, declaration_of(target)))
    return "\n".join(lines)


def rows(group: str, node: dict[str, Any], declared: Declaration) -> Iterator[str]:
    """A row for each setting; those of a nested dataclass follow their own."""
    prefix = f"{group.replace('/', '.')}." if group else ""
    for one in declared.settings.values():
        inner = f"{group}/{one.name}"
        if inner in groups():
            yield row(f"{prefix}{one.name}", "", f"an option of [{inner}](#{anchor(inner)})", one.help)
        elif isinstance(one.type, ClassReference) and is_dataclass_of_settings(one.type.target):
            yield from rows(f"{group}.{one.name}" if group else one.name, {}, declaration_of(one.type.target))
        elif not one.is_given_by_code:
            yield row(f"{prefix}{one.name}", default_of(one, node), type_text(one.type), one.help)


def default_of(one: Setting, node: dict[str, Any]) -> str:
    if one.name in node:
        return value_text(node[one.name])
    return "(needed)" if one.default is REQUIRED else value_text(one.default) if one.is_plain else "???"


def commands_page() -> str:
    """All verbs with their arguments, as Markdown."""
    lines = [COMMANDS_INTRO]
    for name, declared in verbs().items():
        about = find(declared.target).docstring.partition("\n\nArgs:")[0].partition("\n\nRaises:")[0]
        lines += [f"## vtok {name}", "", escape(about), ""]
        arguments = [
            row(
                one.name,
                "(needed)" if one.default is REQUIRED else value_text(one.default),
                type_text(one.type),
                one.help,
            )
            for one in arguments_of(declared).values()
        ]
        lines += table(iter(arguments))
    return "\n".join(lines) + "\n"


def row(key: str, default: str, allowed: str, meaning: str) -> str:
    cells = [f"`{key}`", f"`{default}`" if default else "", escape(allowed), escape(command_line_help(meaning))]
    return f"| {' | '.join(cells)} |"


def table(found: Iterator[str]) -> list[str]:
    lines = list(found)
    return [*HEADER, *lines, ""] if lines else ["No settings.", ""]


def anchor(group: str) -> str:
    """The address of a group's heading within the page."""
    return group.replace("/", "").lower()


def escape(text: str) -> str:
    """Text whose characters mean themselves in a table of Markdown."""
    return " ".join(text.replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*").split())
