"""The tokenisers of the package pass, and what cannot be checked says why."""

from functools import partial

import pytest
import torch
from torch import Tensor

from vtok.backbone import TinyBackbone
from vtok.config import compose
from vtok.config.compose import options_of
from vtok.evaluation.doctor import FAILED, Finding, examine
from vtok.evaluation.doctor.case import Case
from vtok.evaluation.doctor.frames import later_frames
from vtok.model.build import build_tokeniser
from vtok.tokeniser import FrameSamplingTokeniser, PlannedFrames, Tokeniser, VideoTokens

SMALL = ["backbone.image_size=32", "backbone.width=8", "backbone.feature_dim=16"]
VARIANTS = [
    ["tokeniser=vtok", "tokeniser.key_frame=medoid", "tokeniser/motion_pooling=attention"],
    ["tokeniser=vtok", "tokeniser.key_frame=middle", "tokeniser/motion_pooling=transformer"],
    ["tokeniser=key_frame", "tokeniser.key_frame=sharpest", "backbone.frozen=true"],
    ["tokeniser=slow_fast", "tokeniser.stride=1", "tokeniser.token_dim=12"],
]


def findings_of(overrides: list[str]) -> dict[str, Finding]:
    found = examine(partial(build_tokeniser, compose([*SMALL, *overrides])))
    return {one.check: one for one in found}


def failed(findings: dict[str, Finding]) -> list[str]:
    return [f"{name}: {one}" for name, one in findings.items() if one.status == FAILED]


@pytest.mark.parametrize(
    "overrides", [*([f"tokeniser={name}"] for name in options_of("tokeniser")), *VARIANTS], ids=" ".join
)
def test_the_tokenisers_of_the_package_pass(overrides: list[str]) -> None:
    assert failed(findings_of(overrides)) == []


def test_what_does_not_apply_says_why() -> None:
    findings = findings_of(["tokeniser=codec_motion", "tokeniser.motion_grid=4"])
    skipped = {name: one.detail for name, one in findings.items() if one.status == "not checked"}
    assert skipped == {
        "only planned frames": "the tokeniser reads files, of which only planned frames are decoded",
        "cache": "it reads motion vectors, which a feature cache does not hold",
    }


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["tokeniser=vtok"], "0 of 20 tokens depend on frames after their own time (causal)"),
        # The key frame of 5 is the third: its 16 tokens are its own, the motion of the two before it needs it.
        (["tokeniser=vtok", "tokeniser.key_frame=middle"], "2 of 20 tokens depend on frames after their own time"),
        (["tokeniser=resampler"], "20 of 20 tokens depend on frames after their own time"),
    ],
)
def test_tokens_that_depend_on_later_frames_are_counted(overrides: list[str], expected: str) -> None:
    case = Case(partial(build_tokeniser, compose([*SMALL, *overrides])), num_frames=30)
    assert later_frames(case) == expected


class Fails(FrameSamplingTokeniser):
    def project(self, pooled: dict[str, Tensor], planned: PlannedFrames) -> VideoTokens:
        raise RuntimeError("no tokens\nhere")


def test_an_exception_is_a_finding_and_what_needs_the_check_is_not_checked() -> None:
    def make() -> Tokeniser:
        torch.manual_seed(0)
        return Fails(TinyBackbone(feature_dim=16, width=8, image_size=32))

    findings = {one.check: str(one) for one in examine(make)}
    assert findings["number of tokens"] == "FAILED: expected no error, got RuntimeError: no tokens here"
    assert findings["kinds"] == "not checked: it needs number of tokens, which failed"
    assert findings["plan"].startswith("ok")
