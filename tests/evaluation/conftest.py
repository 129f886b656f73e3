"""A small model with both branches, clips whose pixels are a number, and a judge that reads the number."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from vtok.backbone import TinyBackbone
from vtok.data import Clip, ClipSample
from vtok.decoder import TinyDecoder
from vtok.evaluation.generation import Generation
from vtok.evaluation.judge import Judge, Verdict
from vtok.mllm import TinyLanguageModel
from vtok.model import Objective, VideoLanguageModel
from vtok.tokeniser import VTokTokeniser
from vtok.visual_head import FlowHead, RegressionHead


class PixelJudge(Judge):
    """Sees the value of a video's first pixel, and records its inputs."""

    def __init__(self) -> None:
        self.given: list[tuple[Tensor, list[str]]] = []
        self.num_frames: set[int] = set()
        self.intervals: list[list[float]] = []
        self.released = 0

    def truths(self, clip: Clip) -> dict[str, str]:
        return clip.attributes

    def release(self) -> None:
        self.released += 1

    def __call__(
        self,
        model: VideoLanguageModel,
        videos: Tensor,
        clips: Sequence[Clip],
        *,
        num_frames: int,
        intervals: Sequence[float],
    ) -> list[dict[str, Verdict]]:
        self.given.append((videos, [clip.id for clip in clips]))
        self.num_frames.add(num_frames)
        self.intervals.append(list(intervals))
        return [
            {
                name: Verdict(str(int(video[0, 0, 0, 0])), truth, tuple("1234"))
                for name, truth in clip.attributes.items()
            }
            for video, clip in zip(videos, clips, strict=True)
        ]


@pytest.fixture
def judge() -> PixelJudge:
    return PixelJudge()


@pytest.fixture(scope="session")
def make_model() -> Callable[..., VideoLanguageModel]:
    """A model with random weights and a stride of 6 that generates 4 frames of 16 x 16 pixels."""
    return _make_model


def _make_model(*, flow: bool = False, lambdas: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> VideoLanguageModel:
    torch.manual_seed(1)
    model = VideoLanguageModel(
        tokeniser=VTokTokeniser(TinyBackbone(feature_dim=16, width=8), grid_size=2, stride=6, token_dim=12),
        mllm=TinyLanguageModel(width=32, layers=2, heads=2),
        visual_head=lambda hidden, token: (
            FlowHead(hidden, token, width=16, steps=2) if flow else RegressionHead(hidden, token)
        ),
        decoder=lambda width: TinyDecoder(
            width, num_frames=4, size=16, patch=8, heads=2, head_dim=12, double_layers=1, single_layers=1
        ),
        objective=Objective(*lambdas),
    )
    with torch.no_grad():
        # Many weights of a new decoder are zero; its videos would not depend on the tokens.
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        for scale in (model.input_scale, model.target_scale):
            scale.mean.normal_()
            scale.spread.uniform_(0.5, 2.0)
    return model.eval()


@pytest.fixture(scope="session")
def make_sample() -> Callable[..., ClipSample]:
    """A clip whose pixels, attribute (if none is given), caption and seconds for 8 frames are its number."""
    return _make_sample


def _make_sample(number: int, *, frames: int = 4, caption: str | None = "video {}", **attributes: str) -> ClipSample:
    clip = Clip(
        id=f"clip {number}",
        path=Path("none"),
        caption=caption and caption.format(number),
        attributes=attributes or {"number": str(number)},
    )
    pixels = torch.full((frames, 3, 32, 32), number, dtype=torch.uint8)
    target = torch.full((4, 3, 16, 16), number, dtype=torch.uint8)
    indices = tuple(range(0, 6 * frames, 6))
    seconds = torch.tensor(indices) * number / 8
    return ClipSample(pixels, seconds, 0, clip, 0, (), target, indices=indices)


@pytest.fixture(scope="session")
def make_generation() -> Callable[..., Generation]:
    """The evaluation with few steps and batches of 2 clips; settings can be changed."""
    return _make_generation


def _make_generation(judge: Judge, **changes: float | None) -> Generation:
    settings = {"max_clips": None, "clips_while_training": 2, "batch_size": 2, "steps": 2, "guidance": 1.5}
    return Generation(judge=judge, **{**settings, "temperature": 1.0, "seed": 0, **changes})  # type: ignore[arg-type]
