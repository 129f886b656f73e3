"""Quoting of overrides, checked against Hydra's parser, OmegaConf and shlex."""

import random
import shlex
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from vtok.common import overrides
from vtok.common.errors import UserError
from vtok.common.overrides import command, override, quoted, readable
from vtok.config import compose

ODD = [
    "", " ", "a b", " a ", "lr=0.1", "a,b", "a#b", "a%20b", "a%2Fb", "a?b=c&d", "ünï/日本", "~/clips", "Bob's (1)",
    'say "x"', "[1]", "{a:1}", "choice(1,2)", "glob(x*)", "clip(1)", "null", "true", "1", "007", "2024_01", "1e3",
    "0.10", "inf", "${HOME}", r"\${HOME}", r"\\${HOME}", "a${b}${c}", "$HOME", "C:\\new\\", "\\", "\\\\", '\\"',
    "'", '"', "\\'", "-m", "--", "a\tb", "a\nb", "a:b", "*?|!;<>&", "$(rm)", "`x`", "\udce9",
]  # fmt: skip
SIGNS = "\\\\\"\"''${}[](),=:#%~ \tab/é."


def odd_texts() -> list[str]:
    draw = random.Random(0)
    return [*ODD, *("".join(draw.choices(SIGNS, k=draw.randint(1, 8))) for _ in range(300))]


def read(item: str) -> object:
    """The value in a configuration after an override, by Hydra's parser and OmegaConf."""
    (parsed,) = OverridesParser.create().parse_overrides([item])
    assert not parsed.is_sweep_override()
    return OmegaConf.create({"k": parsed.value()}).k


@pytest.mark.parametrize("write", [override, lambda key, text: f"{key}={quoted(text)}"])
def test_a_printed_override_is_read_back_as_it_is(write) -> None:
    for text in odd_texts():
        (word, item) = shlex.split(command("train.py", write("resume.path", text)))
        assert word == "train.py"
        assert read(item) == text, (text, item)


def test_plain_values_are_not_quoted() -> None:
    assert command("vtok", "describe", override("run", "outputs/runs/2026-01-01_10-00")) == (
        "vtok describe run=outputs/runs/2026-01-01_10-00"
    )
    assert command("vtok", override("resume", "runs/lr=0.1")) == """vtok 'resume="runs/lr=0.1"'"""


@pytest.mark.parametrize(
    "value",
    ["runs/lr=0.1", "FOLDER/ünï", "~/clips", "a#b", "a&b", "Bob's clips (1)", "a;b", "<x>", "x!", "a`b", "clip(1)"],
)
def test_a_raw_text_is_read_as_it_is(value: str) -> None:
    assert read(readable(f"data.root={value}")) == value
    assert readable(readable(f"data.root={value}")) == readable(f"data.root={value}")


@pytest.mark.parametrize(
    "item",
    [
        "seed=0,1", "seed=range(0,3)", "lr=choice(0.1,1)", "tokeniser=glob(*)", "a=[1,2]", "a={b:1}", "a=${b}/c",
        "a='ü'", 'a="ü"', "a=1_000", "a=null", "a=", "~a", "+a.b=c", "++a=1",
        "data@data.sources.x=folder", "a=interval(0,1)",
    ],
)  # fmt: skip
def test_valid_overrides_are_unchanged(item: str) -> None:
    assert readable(item) == item


def test_references_in_raw_texts_are_followed() -> None:
    (parsed,) = OverridesParser.create().parse_overrides([readable("name=${seed}/ü")])
    assert OmegaConf.create({"seed": 3, "name": parsed.value()}).name == "3/ü"


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        ("data.root=ünï,b", """'data.root="ünï,b"'"""),
        ("data.families=[motion,örder", "Check its brackets and quotes"),
        ("seed=range(0,", "Check its brackets and quotes"),
        ("name='ü", "for the shell too: "),
        ("just a word", "Use KEY=VALUE"),
        ("dätä.root=x", "Use KEY=VALUE"),
        ("data..root=x", "Use KEY=VALUE"),
        ("data/=x", "Use KEY=VALUE"),
    ],
)
def test_ambiguous_overrides_are_refused_with_a_suggestion(item: str, expected: str) -> None:
    with pytest.raises(UserError) as error:
        readable(item)
    assert str(error.value).startswith(f"{item}: ")
    assert expected in str(error.value)


def test_raw_paths_reach_the_configuration(tmp_path: Path) -> None:
    outputs = f"{tmp_path}/ünï lr=0.1 #1"
    assert compose([f"outputs={outputs}"]).data.root == f"{outputs}/data/shapes"
    assert compose(["resume=runs/lr=0.1"]).resume.path == "runs/lr=0.1"


def test_every_printed_command_is_quoted_in_one_place() -> None:
    package = Path(overrides.__file__).parent
    assert [file.name for file in package.rglob("*.py") if "import shlex" in file.read_text()] == ["overrides.py"]
