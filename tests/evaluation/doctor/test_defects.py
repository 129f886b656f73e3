"""Each planted defect is found by the check for it, and by no other."""

import random
import re
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from vtok.backbone import Backbone, TinyBackbone
from vtok.data.plan import FramePlan
from vtok.evaluation.doctor import FAILED, examine
from vtok.tokeniser import (
    MOTION,
    FrameSamplingTokeniser,
    PlannedFrames,
    Tokeniser,
    VideoTokens,
    VTokTokeniser,
)

Pooled = dict[str, Tensor]


class PlansBackwards(FrameSamplingTokeniser):
    def plan(self, num_frames: int, key_frame: int | None = None) -> FramePlan:
        plan = super().plan(num_frames, key_frame)
        return replace(plan, indices=plan.indices[::-1])


class DropsTheLastToken(FrameSamplingTokeniser):
    def project(self, pooled: Pooled, planned: PlannedFrames) -> VideoTokens:
        tokens = super().project(pooled, planned)
        return tokens.at(torch.arange(tokens.tokens.shape[1] - 1).expand(len(tokens.tokens), -1))


class DropsFramesThatStandStill(FrameSamplingTokeniser):
    """Without a plan that says so."""

    def project(self, pooled: Pooled, planned: PlannedFrames) -> VideoTokens:
        tokens = super().project(pooled, planned)
        still = F.pad(pooled["grid"].diff(dim=1).abs().amax((2, 3)) < 1e-6, (1, 0))
        return replace(tokens, mask=tokens.mask & ~still.repeat_interleave(self.grid_size**2, dim=1))


class StatesAnotherKind(FrameSamplingTokeniser):
    frame_kind = MOTION


class HasPlacesOfCorners(FrameSamplingTokeniser):
    def project(self, pooled: Pooled, planned: PlannedFrames) -> VideoTokens:
        tokens = super().project(pooled, planned)
        return replace(tokens, places=tokens.places - 0.5 / self.grid_size)


class HasAnotherDevice(FrameSamplingTokeniser):
    def project(self, pooled: Pooled, planned: PlannedFrames) -> VideoTokens:
        tokens = super().project(pooled, planned)
        return replace(tokens, weights=tokens.weights.to("meta"))


class ChangesItsInput(FrameSamplingTokeniser):
    def extract(self, planned: PlannedFrames) -> Pooled:
        planned.pixels[:] = planned.pixels.flip(2)
        return super().extract(planned)


class DropsOutInEvaluation(FrameSamplingTokeniser):
    def extract(self, planned: PlannedFrames) -> Pooled:
        return {"grid": F.dropout(super().extract(planned)["grid"], 0.1)}


class RemembersTheLastClip(FrameSamplingTokeniser):
    last = 0.0

    def extract(self, planned: PlannedFrames) -> Pooled:
        before, self.last = self.last, float(planned.pixels.double().mean())
        return {"grid": super().extract(planned)["grid"] + before}


class IgnoresTheSeed(FrameSamplingTokeniser):
    def __init__(self, backbone: Backbone) -> None:
        super().__init__(backbone)
        self.shift = random.SystemRandom().random()

    def extract(self, planned: PlannedFrames) -> Pooled:
        return {"grid": super().extract(planned)["grid"] + self.shift}


class NormalisesOverTheBatch(FrameSamplingTokeniser):
    def extract(self, planned: PlannedFrames) -> Pooled:
        grid = super().extract(planned)["grid"]
        there = planned.mask[..., None, None]
        return {"grid": grid + (grid * there).sum(0) / there.sum(0).clamp(min=1)}


class ReadsPadding(FrameSamplingTokeniser):
    def extract(self, planned: PlannedFrames) -> Pooled:
        grid = super().extract(planned)["grid"]
        return {"grid": grid + grid.mean(1, keepdim=True)}


class ReadsTheFirstClipsMask(FrameSamplingTokeniser):
    def extract(self, planned: PlannedFrames) -> Pooled:
        grid = super().extract(planned)["grid"]
        return {"grid": grid + grid[:, : int(planned.mask[0].sum())].mean(1, keepdim=True)}


class ReadsAllFrames(FrameSamplingTokeniser):
    def encode(self, video: Tensor, *, key_frame=None, timestamps: Tensor | None = None) -> VideoTokens:
        tokens = super().encode(video, key_frame=key_frame, timestamps=timestamps)
        return replace(tokens, tokens=tokens.tokens + video.mean())


class EncodesTheNextFrames(FrameSamplingTokeniser):
    def encode(self, video: Tensor, *, key_frame=None, timestamps: Tensor | None = None) -> VideoTokens:
        return super().encode(video.roll(-1, dims=1), key_frame=key_frame, timestamps=timestamps)


class RepeatsTheFirstFrame(FrameSamplingTokeniser):
    def extract(self, planned: PlannedFrames) -> Pooled:
        grid = super().extract(planned)["grid"]
        return {"grid": torch.cat([grid[:, :1], grid[:, :1].expand_as(grid[:, 1:2]), grid[:, 2:]], dim=1)}


def shifted(values: Tensor, planned: PlannedFrames) -> Tensor:
    """Values (B, K, ...) of the frame before; of the last for the first."""
    frames, number = torch.arange(values.shape[1]), planned.mask.sum(1, keepdim=True)
    before = torch.where(planned.mask, (frames - 1) % number, frames)
    return values[torch.arange(len(values)).unsqueeze(1), before]


class ShowsTheFrameBefore(FrameSamplingTokeniser):
    def extract(self, planned: PlannedFrames) -> Pooled:
        return {"grid": shifted(super().extract(planned)["grid"], planned)}


class CountsFramesForSeconds(FrameSamplingTokeniser):
    def project(self, pooled: Pooled, planned: PlannedFrames) -> VideoTokens:
        numbers = torch.arange(planned.mask.shape[1]).expand_as(planned.mask) * self.planner.stride / 24
        return super().project(pooled, replace(planned, timestamps=numbers))


class SpreadsTimesEvenly(FrameSamplingTokeniser):
    def project(self, pooled: Pooled, planned: PlannedFrames) -> VideoTokens:
        last = planned.timestamps.masked_fill(~planned.mask, 0.0).amax(1, keepdim=True)
        steps = torch.arange(planned.mask.shape[1]) / (planned.mask.sum(1, keepdim=True) - 1).clamp(min=1)
        first = planned.timestamps[:, :1]
        return super().project(pooled, replace(planned, timestamps=first + steps * (last - first)))


class PutsTheFirstFrameLast(FrameSamplingTokeniser):
    def extract(self, planned: PlannedFrames) -> Pooled:
        return {"grid": shifted(super().extract(planned)["grid"], planned)}

    def project(self, pooled: Pooled, planned: PlannedFrames) -> VideoTokens:
        return super().project(pooled, replace(planned, timestamps=shifted(planned.timestamps, planned)))


class TransposesTheGrid(FrameSamplingTokeniser):
    def project(self, pooled: Pooled, planned: PlannedFrames) -> VideoTokens:
        tokens = super().project(pooled, planned)
        return replace(tokens, places=tokens.places.flip(2))


class TakesTheFirstFrameForTheKey(VTokTokeniser):
    def extract(self, planned: PlannedFrames) -> Pooled:
        return super().extract(replace(planned, key=torch.zeros_like(planned.key)))


class NamesAnotherKeyFrame(VTokTokeniser):
    """The residuals and the grid are those of the first frame, the timestamps those of the key frame."""

    def extract(self, planned: PlannedFrames) -> Pooled:
        pooled = super().extract(planned)
        return {**super().extract(replace(planned, key=torch.zeros_like(planned.key))), "order": pooled["order"]}


class ProjectsPixels(FrameSamplingTokeniser):
    def project(self, pooled: Pooled, planned: PlannedFrames) -> VideoTokens:
        tokens = super().project(pooled, planned)
        levels = planned.pixels.float().mean((2, 3, 4)) / (255 if planned.pixels.dtype == torch.uint8 else 1)
        levels = levels.repeat_interleave(self.grid_size**2, dim=1).unsqueeze(2)
        return replace(tokens, tokens=tokens.tokens + levels)


class MistakesLevels(FrameSamplingTokeniser):
    def extract(self, planned: PlannedFrames) -> Pooled:
        return {"grid": super().extract(planned)["grid"] + planned.pixels.float().mean((3, 4)).mean(2)[..., None, None]}


class LosesPrecision(FrameSamplingTokeniser):
    def project(self, pooled: Pooled, planned: PlannedFrames) -> VideoTokens:
        tokens = super().project(pooled, planned)
        same = F.linear(tokens.tokens + 30, torch.eye(self.token_dim)) - 30
        return replace(tokens, tokens=same)


class DetachesItsFeatures(FrameSamplingTokeniser):
    def extract(self, planned: PlannedFrames) -> Pooled:
        return {"grid": super().extract(planned)["grid"].detach()}


class TrainsAFrozenBackbone(FrameSamplingTokeniser):
    def __init__(self, backbone: Backbone) -> None:
        super().__init__(backbone)
        self.requires_grad_(True)


DEFECTS: dict[type[Tokeniser], str] = {
    PlansBackwards: "plan",
    DropsTheLastToken: "number of tokens",
    DropsFramesThatStandStill: "still clip",
    StatesAnotherKind: "kinds",
    HasPlacesOfCorners: "fields",
    HasAnotherDevice: "device",
    ChangesItsInput: "input unchanged",
    DropsOutInEvaluation: "same call",
    RemembersTheLastClip: "same call",
    IgnoresTheSeed: "same seed",
    NormalisesOverTheBatch: "batch",
    ReadsPadding: "padding",
    ReadsTheFirstClipsMask: "mixed lengths",
    ReadsAllFrames: "only planned frames",
    EncodesTheNextFrames: "only planned frames",
    RepeatsTheFirstFrame: "planned frames matter",
    ShowsTheFrameBefore: "timestamps",
    CountsFramesForSeconds: "timestamps",
    SpreadsTimesEvenly: "timestamps",
    PutsTheFirstFrameLast: "order",
    TransposesTheGrid: "places",
    TakesTheFirstFrameForTheKey: "key frame",
    NamesAnotherKeyFrame: "key frame",
    ProjectsPixels: "cache",
    MistakesLevels: "pixel type",
    LosesPrecision: "half precision",
    DetachesItsFeatures: "gradient",
    TrainsAFrozenBackbone: "frozen backbone",
}


def build(kind: type[Tokeniser]) -> Tokeniser:
    torch.manual_seed(0)
    frozen = kind is TrainsAFrozenBackbone
    return kind(TinyBackbone(feature_dim=16, width=8, image_size=32, frozen=frozen))


@pytest.mark.parametrize("kind", DEFECTS, ids=lambda kind: kind.__name__)
def test_a_defect_is_found_by_its_check_alone(kind: type[Tokeniser]) -> None:
    failed = [one for one in examine(partial(build, kind)) if one.status == FAILED]
    assert [one.check for one in failed] == [DEFECTS[kind]]
    assert re.fullmatch("expected .*, got .*", failed[0].detail)


def test_every_check_has_a_defect() -> None:
    """Whether tokens depend on later frames is not a defect."""
    checks = {one.check for one in examine(partial(build, FrameSamplingTokeniser))}
    assert checks - set(DEFECTS.values()) == {"later frames"}
