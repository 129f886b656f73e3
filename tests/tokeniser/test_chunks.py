"""Few frames at a time through a frozen backbone: the same tokens, in memory that does not grow with the clip."""

from collections.abc import Callable
from functools import partial

import pytest
import torch

from vtok.backbone import TinyBackbone
from vtok.evaluation.cost.memory import PeakMemory
from vtok.tokeniser import (
    AttentionPooling,
    DeltaTokeniser,
    EvsTokeniser,
    FrameSamplingTokeniser,
    FrequencyTokeniser,
    GridPooling,
    GroupedTtmTokeniser,
    KMeansTokeniser,
    LlamaVidTokeniser,
    PlannedFrames,
    RandomTokeniser,
    ResamplerTokeniser,
    SlowFastTokeniser,
    Tokeniser,
    TokenLearnerTokeniser,
    ToMeTokeniser,
    UniformTokeniser,
    VidCom2Tokeniser,
    VisionZipTokeniser,
    VTokTokeniser,
    base,
)

KINDS: dict[str, Callable[..., Tokeniser]] = {
    "vtok": VTokTokeniser,
    "vtok, middle": partial(VTokTokeniser, key_frame="middle"),
    "vtok, medoid": partial(VTokTokeniser, key_frame="medoid"),
    "vtok, sharpest": partial(VTokTokeniser, key_frame="sharpest"),
    "vtok, grid": partial(VTokTokeniser, motion_pooling=partial(GridPooling, size=2)),
    "vtok, attention": partial(VTokTokeniser, motion_pooling=AttentionPooling),
    "delta": DeltaTokeniser,
    "frame_sampling": FrameSamplingTokeniser,
    "frequency": FrequencyTokeniser,
    "slow_fast": SlowFastTokeniser,
    "llama_vid": LlamaVidTokeniser,
    "resampler": ResamplerTokeniser,
    "token_learner": TokenLearnerTokeniser,
    "grouped_ttm": GroupedTtmTokeniser,
    "random": RandomTokeniser,
    "uniform": UniformTokeniser,
    "evs": EvsTokeniser,
    "vidcom2": VidCom2Tokeniser,
    "tome": ToMeTokeniser,
    "visionzip": VisionZipTokeniser,
    "kmeans": KMeansTokeniser,
}


def tokeniser_of(name: str) -> Tokeniser:
    torch.manual_seed(0)
    backbone = TinyBackbone(feature_dim=16, width=8)
    backbone.set_frozen(True)
    return KINDS[name](backbone, stride=1, grid_size=2).eval()


def clips(number: int, frames: int) -> PlannedFrames:
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randint(0, 256, (number, frames, 3, 64, 64), dtype=torch.uint8, generator=generator)
    mask = torch.ones(number, frames, dtype=torch.bool)
    # The last clip is shorter than the others.
    mask[-1, frames - 2 :] = number == 1
    times = torch.arange(float(frames)).expand(number, -1)
    return PlannedFrames(frames=pixels, key=torch.zeros(number, dtype=torch.long), mask=mask, timestamps=times)


@pytest.mark.parametrize("at_once", [1, 4, 7])
@pytest.mark.parametrize("name", KINDS)
def test_tokens_are_those_of_all_frames_at_once(name: str, at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    tokeniser, planned = tokeniser_of(name), clips(3, 9)
    key = {"vtok, middle": 4, "vtok, medoid": -1, "vtok, sharpest": -1}.get(name, 0)
    planned = PlannedFrames(planned.pixels, torch.full((3,), key), planned.mask, planned.timestamps)
    calls: list[int] = []
    tokeniser.backbone.register_forward_hook(lambda module, given, made: calls.append(len(given[0])))
    with torch.no_grad():
        whole = tokeniser.encode_planned(planned)
        assert calls == [27]
        calls.clear()
        monkeypatch.setattr(base, "PIXELS_AT_ONCE", 3 * at_once * 64 * 64)
        chunked = tokeniser.encode_planned(planned)
    assert max(calls) == 3 * at_once
    assert sum(calls) == 27
    torch.testing.assert_close(chunked.tokens, whole.tokens, atol=1e-5, rtol=1e-5)
    assert torch.equal(chunked.mask, whole.mask)
    assert torch.equal(chunked.timestamps, whole.timestamps)


def test_a_backbone_that_is_trained_has_all_frames_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    tokeniser = tokeniser_of("frame_sampling")
    tokeniser.backbone.set_frozen(False)
    monkeypatch.setattr(base, "PIXELS_AT_ONCE", 64 * 64)
    assert [len(maps[0]) for maps in tokeniser.chunks(clips(2, 9))] == [9]


@pytest.mark.parametrize("name", ["vtok", "vtok, sharpest", "delta", "frame_sampling", "slow_fast"])
def test_a_long_clip_takes_hardly_more_memory_than_a_short_one(name: str) -> None:
    tokeniser, most = tokeniser_of(name), {}
    for frames in (120 // 6, 1920 // 6):
        planned = clips(1, frames)
        with torch.no_grad(), PeakMemory() as memory:
            tokeniser.encode_planned(planned)
        most[frames] = memory.peak
    assert most[320] <= 1.3 * most[20]
