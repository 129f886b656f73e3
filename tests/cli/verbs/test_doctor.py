"""vtok doctor on the command line."""

from pathlib import Path

import pytest

from vtok.cli.main import main

SMALL = ["backbone.image_size=32", "backbone.width=8", "backbone.feature_dim=16"]
CLASS = """
from dataclasses import replace

from vtok.tokeniser import FrameSamplingTokeniser


class Transposed(FrameSamplingTokeniser):
    def __init__(self, backbone, *, grid_size: int = 2) -> None:
        super().__init__(backbone, grid_size=grid_size)

    def project(self, pooled, planned):
        tokens = super().project(pooled, planned)
        return replace(tokens, places=tokens.places.flip(2))
"""


def test_a_tokeniser_without_a_defect(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "tokeniser=slow_fast", *SMALL]) == 0
    lines = dict(line.split("  ", 1) for line in capsys.readouterr().out.splitlines())
    assert lines["padding"].strip().startswith("ok: Padding after a shorter clip changes nothing")
    assert lines["key frame"].strip().startswith("not checked: the tokeniser has no key frame")
    assert len(lines) == 24


def test_a_users_own_tokeniser_with_a_defect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "transposing_lab.py").write_text(CLASS)
    (tmp_path / "conf" / "tokeniser").mkdir(parents=True)
    option = "_target_: transposing_lab.Transposed\nbackbone: ${backbone}\n"
    (tmp_path / "conf" / "tokeniser" / "transposed.yaml").write_text(option)
    monkeypatch.syspath_prepend(tmp_path)
    own = [f"hydra.searchpath=[file://{tmp_path / 'conf'}]", "tokeniser=transposed", *SMALL]
    assert main(["doctor", *own, "allowed_targets=[transposing_lab]"]) == 1
    shown = capsys.readouterr()
    assert "FAILED: expected a correlation of 0.7 or more between the rows" in shown.out
    assert shown.err == (
        "error: transposing_lab.Transposed: 1 of 24 checks failed (places). "
        "Repair the tokeniser, and run vtok doctor again.\n"
    )
    assert main(["doctor", *own]) == 1
    assert "allowed_targets" in capsys.readouterr().err
