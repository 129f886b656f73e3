"""Every message of a user's mistake ends with what to do: `key=value: what is wrong. What is allowed. What to set.`"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import vtok

ROOT = Path(vtok.__file__).parent
VERBS = """
Add Allow Ask Check Choose Close Compose Convert Copy Create Delete Download Drop Export Free Give Install Keep Leave
Log Look Lower Make Match Move Name Pass Pick Point Put Quote Raise Read Rebuild Reinstall Remove Rename Repair Report
Resume Run Save Send Set Start Stop Take Train Type Update Use Wait Wrap Write
"""
INSTRUCTION = re.compile(rf"({'|'.join([*VERBS.split(), 'Did you mean'])})\b")
# What stands in a message in braces may be sentences of its own, such as the nearest keys.
ENDS_WITH_A_PLACEHOLDER = re.compile(r"\{[^}]*\}\.?$")


def template(node: ast.expr) -> str:
    """The text of an expression, with what is filled in in braces."""
    match node:
        case ast.Constant(value=str() as text):
            return text
        case ast.JoinedStr(values=values):
            return "".join(map(template, values))
        case ast.FormattedValue(value=value):
            return "{" + ast.unparse(value) + "}"
        case ast.BinOp(left=left, right=right):
            return template(left) + template(right)
    return "{" + ast.unparse(node) + "}"


def messages() -> Iterator[tuple[str, str]]:
    for file in sorted(ROOT.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            match node:
                case ast.Raise(exc=ast.Call(func=ast.Name(id="UserError"), args=[argument, *_])):
                    yield f"{file.relative_to(ROOT)}:{node.lineno}", template(argument)


def test_the_last_sentence_says_what_to_do() -> None:
    found = list(messages())
    assert len(found) > 300
    without = []
    for place, text in found:
        last = re.split(r"(?<=[.?!}])\s+(?=[A-Z{])", text.strip())[-1]
        if not INSTRUCTION.match(last) and not ENDS_WITH_A_PLACEHOLDER.search(text):
            without.append(f"{place} {text}")
    assert without == []
