"""A tokeniser in a user's own package is checked, planned, budgeted and swept like those of vtok."""

import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from vtok.cli.main import main
from vtok.common.source_code import module
from vtok.config.declaration import constant_in_source, declaration_in_source

CLASS = '''
from typing import Annotated

from annotated_types import Ge, Le

from vtok.tokeniser import FrameSamplingTokeniser


class EveryOther(FrameSamplingTokeniser):
    """A grid of every second frame.

    Args:
        grid_size: every frame becomes grid_size x grid_size tokens.
        offset: frames left out at the start.
    """

    budgeted = "grid_size"

    def __init__(self, backbone, *, grid_size: Annotated[int, Ge(1)] = 2, offset: Annotated[int, Ge(0), Le(3)] = 1,
                 budget: int | None = None) -> None:
        super().__init__(backbone, grid_size=grid_size, stride=2, budget=budget)
        self.offset = offset
'''
YAML = """
# A grid of every second frame.
_target_: their_lab.every_other.EveryOther
backbone: ${backbone}
"""


def write_package(folder: Path) -> None:
    (folder / "their_lab").mkdir()
    (folder / "their_lab" / "__init__.py").touch()
    (folder / "their_lab" / "every_other.py").write_text(CLASS)
    (folder / "conf" / "tokeniser").mkdir(parents=True)
    (folder / "conf" / "tokeniser" / "every_other.yaml").write_text(textwrap.dedent(YAML))


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    write_package(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    for known in (module, declaration_in_source, constant_in_source):
        known.cache_clear()
    yield [
        f"hydra.searchpath=[file://{tmp_path / 'conf'}]",
        "allowed_targets=[their_lab]",
        "tokeniser=every_other",
    ]
    for known in (module, declaration_in_source, constant_in_source):
        known.cache_clear()


def test_it_is_planned_and_budgeted(lab: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", *lab]) == 0
    shown = capsys.readouterr().out
    assert "15 of 30 frames: 0, 2, 4" in shown
    assert "60 a clip" in shown
    assert main(["validate", *lab, "tokeniser.budget=135"]) == 0
    assert "135: tokeniser.grid_size=3" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("tokeniser.offset=4", "tokeniser.offset=4: must be an integer from 0 to 3."),
        ("tokeniser.offset=abc", "tokeniser.offset=abc: must be an integer from 0 to 3."),
        ("tokeniser.offest=1", "Did you mean tokeniser.offset?"),
        ("tokeniser.grid_size=9", "tokeniser.grid_size=9"),
        ("tokeniser.budget=61", "tokeniser.budget=61: no tokeniser.grid_size makes this many tokens"),
    ],
)
def test_mistakes_are_refused_as_for_the_options_of_vtok(
    lab: list[str], override: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["validate", *lab, override]) == 1
    assert message in capsys.readouterr().err


@pytest.mark.slow
def test_it_is_swept_beside_ours(tmp_path: Path, tiny_settings: list[str]) -> None:
    write_package(tmp_path)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    done = subprocess.run(
        [
            *(sys.executable, "-m", "vtok", "train", "-m", "--config-dir", "conf", "allowed_targets=[their_lab]"),
            *(*tiny_settings, "hydra.sweep.dir=sweep", "tokeniser=every_other,vtok", "trainer.max_steps=1"),
        ],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    targets = [
        yaml.safe_load(file.read_text())["tokeniser"]["_target_"]
        for file in sorted(tmp_path.glob("sweep/*/config.yaml"))
    ]
    assert targets == ["their_lab.every_other.EveryOther", "vtok.tokeniser.VTokTokeniser"]
