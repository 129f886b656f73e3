"""Arguments of a function, from the command line."""

import pytest

from vtok.cli.main import run_script

FOLDER = "/".join(("a", "b"))


def copy(*, source: str, out: str = FOLDER.upper()) -> str:
    """Copy a file.

    Args:
        source: input file.
        out: output file.
    """
    return f"{source} -> {out}"


def test_a_computed_default_is_the_functions_own(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_script(copy, ["source=x"]) == 0
    assert capsys.readouterr().out == "x -> A/B\n"


def test_an_argument_replaces_a_computed_default(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_script(copy, ["source=x", "out=y"]) == 0
    assert capsys.readouterr().out == "x -> y\n"
