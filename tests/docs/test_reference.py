"""The reference pages say every setting and every argument, as their declarations do."""

import runpy
from pathlib import Path

import pytest

from vtok.cli.dispatch import arguments_of, verbs
from vtok.config.compose import groups, options_of
from vtok.config.declaration import declaration_of

SCRIPT = Path(__file__).resolve().parents[2] / "docs" / "scripts" / "reference.py"


@pytest.fixture(scope="module")
def reference() -> dict:
    return runpy.run_path(str(SCRIPT))


def test_every_option_of_a_component_has_a_section(reference: dict) -> None:
    page = reference["settings_page"]()
    expected = [f"### {group}={option}\n" for group in groups() for option in options_of(group)]
    assert len(expected) > 40
    assert [heading for heading in expected if heading not in page] == []


def test_a_setting_stands_with_default_bounds_and_meaning(reference: dict) -> None:
    page = reference["settings_page"]()
    declared = declaration_of("vtok.tokeniser.VTokTokeniser").settings["stride"]
    row = next(line for line in page.split("### tokeniser=vtok\n")[1].splitlines() if "`tokeniser.stride`" in line)
    assert [cell.strip() for cell in row.strip("|").split("|")] == [
        "`tokeniser.stride`", "`6`", "an integer >= 1", declared.help,
    ]  # fmt: skip
    # What the YAML sets instead of the class.
    assert "| `objective.caption_dropout` | `0.3` |" in page.split("### objective=joint\n")[1]
    # What is nested is written with its full key.
    assert "| `resume.path` | `null` |" in page


def test_every_argument_of_every_verb_is_there(reference: dict) -> None:
    sections = reference["commands_page"]().split("\n## vtok ")[1:]
    found = {section.partition("\n")[0]: section for section in sections}
    assert found.keys() == verbs().keys()
    for name, declared in verbs().items():
        assert [one for one in arguments_of(declared) if f"| `{one}` |" not in found[name]] == []


def test_characters_of_markdown_mean_themselves(reference: dict) -> None:
    assert reference["row"]("a.b", "1", "x | y", "frames/*.jpg < 3") == (
        r"| `a.b` | `1` | x \| y | frames/\*.jpg &lt; 3 |"
    )
