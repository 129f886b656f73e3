"""The pictures of tokens show what the tokenisers give."""

import runpy
from pathlib import Path

import pytest
import torch

from vtok.backbone import TinyBackbone
from vtok.config.compose import options_of
from vtok.tokeniser import (
    MOTION,
    SPATIAL,
    DeltaTokeniser,
    FrameSamplingTokeniser,
    KeyFrameTokeniser,
    ResamplerTokeniser,
    SlowFastTokeniser,
    VTokTokeniser,
)

ROOT = Path(__file__).resolve().parents[2]
VIDEO = torch.zeros(30, 3, 64, 64, dtype=torch.uint8)


@pytest.mark.parametrize(
    ("kind", "runs"),
    [
        (VTokTokeniser, [(0, SPATIAL, 16), *((frame, MOTION, 1) for frame in (6, 12, 18, 24))]),
        (DeltaTokeniser, [(0, SPATIAL, 16), *((frame, MOTION, 1) for frame in (6, 12, 18, 24))]),
        (FrameSamplingTokeniser, [(frame, SPATIAL, 4) for frame in (0, 6, 12, 18, 24)]),
        (KeyFrameTokeniser, [(0, SPATIAL, 16)]),
        (SlowFastTokeniser, [*((f, SPATIAL, 4) for f in (0, 16, 28)), *((f, SPATIAL, 1) for f in range(0, 30, 4))]),
        (ResamplerTokeniser, [(12, SPATIAL, 20)]),
    ],
)
def test_tokens_are_drawn_where_they_are_from(kind: type, runs: list[tuple[int, int, int]]) -> None:
    tokens_of = runpy.run_path(str(ROOT / "docs" / "scripts" / "draw_tokens.py"))["tokens_of"]
    assert [tuple(run) for run in tokens_of(kind(TinyBackbone()), VIDEO)] == runs


def test_every_tokeniser_has_its_picture_and_its_section() -> None:
    page = (ROOT / "docs" / "tokenisers.md").read_text(encoding="utf-8")
    for option in options_of("tokeniser"):
        assert f"\n## {option}\n" in page
        assert f"(images/tokens_{option}.png)" in page
        assert (ROOT / "docs" / "images" / f"tokens_{option}.png").is_file()
