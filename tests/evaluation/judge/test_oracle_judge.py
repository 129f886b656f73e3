"""The judge that reads pixels: verdicts on true clips, on other clips, and on a model that draws scenes."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from vtok.data import Clip, ClipSample
from vtok.data.sources.shapes.language import attributes, caption
from vtok.data.sources.shapes.render import render
from vtok.data.sources.shapes.scene import Scene, SceneObject, sample_scene
from vtok.evaluation.clips import HeldoutBatch
from vtok.evaluation.generation import Generation
from vtok.evaluation.judge import OracleJudge, Verdict
from vtok.model.video_language_model import VideoLanguageModel
from vtok.model.visual_states import GeneratedTokens

CHOICES = {"shape": 4, "colour": 6, "motion_direction": 4, "speed": 2, "count": 4}


def draw(scene: Scene) -> Tensor:
    """8 frames of 32 x 32 pixels, uint8 (8, 3, 32, 32)."""
    return torch.from_numpy(render(scene, num_frames=8, size=32)).permute(0, 3, 1, 2)


def clip_of(scene: Scene, name: str = "a") -> Clip:
    return Clip(id=name, path=Path("none"), caption=caption(scene), attributes=attributes(scene))


def scene_with(**changes: Any) -> Scene:
    look = {"kind": "circle", "colour": "red", "radius": 0.13, "start": (0.5, 0.5)}
    thing = SceneObject(**{**look, "moves": ("left",), "speed": "fast", "distance": 0.3, **changes})  # type: ignore[arg-type]
    return Scene("motion", (thing,), camera=None, background=(90, 90, 90), texture=0.0, seed=0)


def judged(video: Tensor, clip: Clip) -> dict[str, Verdict]:
    unused: Any = torch.nn.Linear(1, 1)
    (verdicts,) = OracleJudge()(unused, video[None], [clip], num_frames=30, intervals=[0.1])
    return verdicts


@pytest.mark.parametrize("family", ["motion", "count"])
def test_a_true_clip_is_right_in_every_category(family: str) -> None:
    scene = sample_scene(np.random.default_rng(3), "easy", [family])
    verdicts = judged(draw(scene), clip_of(scene))
    shown = {"shape", "colour", *({"count"} if family == "count" else {"motion_direction", "speed"})}
    assert verdicts.keys() == shown
    for category, verdict in verdicts.items():
        assert verdict.right
        assert verdict.seen == verdict.truth
        assert len(verdict.choices) == CHOICES[category]
        assert verdict.chance == 1 / CHOICES[category]


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        ({}, set()),
        ({"kind": "square"}, {"shape"}),
        ({"colour": "blue"}, {"colour"}),
        ({"moves": ("up",)}, {"motion_direction"}),
        ({"speed": "slow", "distance": 0.14}, {"speed"}),
        ({"colour": "white", "moves": ("right",)}, {"colour", "motion_direction"}),
    ],
)
def test_wrong_attributes_are_recognised(changes: dict[str, Any], wrong: set[str]) -> None:
    shown, asked = scene_with(**changes), clip_of(scene_with())
    verdicts = judged(draw(shown), asked)
    assert {category for category, verdict in verdicts.items() if not verdict.right} == wrong
    truth = {"shape": "circle", "colour": "red", "motion_direction": "left", "speed": "fast"}
    assert {category: verdict.truth for category, verdict in verdicts.items()} == truth


def test_an_empty_video_is_wrong_in_every_category() -> None:
    verdicts = judged(torch.full((8, 3, 32, 32), 90, dtype=torch.uint8), clip_of(scene_with()))
    assert verdicts.keys() == {"shape", "colour", "motion_direction", "speed"}
    assert [(verdict.seen, verdict.right) for verdict in verdicts.values()] == [(None, False)] * 4


def test_every_video_is_compared_with_its_own_clip() -> None:
    scenes = [scene_with(), scene_with(colour="blue"), scene_with(colour="green")]
    videos = torch.stack([draw(scene) for scene in scenes])
    clips = [clip_of(scene) for scene in scenes]
    judge = OracleJudge()
    right = judge(torch.nn.Linear(1, 1), videos, clips, num_frames=30, intervals=[0.1] * len(clips))  # type: ignore[arg-type]
    assert all(verdict.right for verdicts in right for verdict in verdicts.values())
    turned = judge(torch.nn.Linear(1, 1), videos.roll(1, 0), clips, num_frames=30, intervals=[0.1] * len(clips))  # type: ignore[arg-type]
    assert [verdicts["colour"].right for verdicts in turned] == [False] * 3
    with pytest.raises(ValueError):
        judge(torch.nn.Linear(1, 1), videos, clips[:2], num_frames=30, intervals=[0.1] * 2)  # type: ignore[arg-type]


def test_only_clips_with_readable_attributes_are_judged() -> None:
    judge = OracleJudge()
    assert judge.can_judge(clip_of(scene_with()))
    assert not judge.can_judge(Clip(id="a", path=Path("a"), caption="a dog"))
    assert not judge.can_judge(Clip(id="a", path=Path("a"), attributes={"order": "left then up", "camera": "zooms in"}))


def test_a_model_that_draws_its_captions_is_perfect(
    make_model: Callable[..., VideoLanguageModel],
    make_generation: Callable[..., Generation],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its controls are right as often as another clip of the family has the same attribute."""
    scenes = [sample_scene(np.random.default_rng([5, n]), "easy", ["motion"]) for n in range(12)]
    by_caption = {caption(scene): scene for scene in scenes}
    clips = [clip_of(scene, str(number)) for number, scene in enumerate(scenes)]
    model = make_model()
    drawn: list[str] = []

    truly_imagine = model.generate_tokens

    def imagine(captions: Sequence[str], **how: Any) -> GeneratedTokens:
        drawn.extend(captions)
        return truly_imagine(captions, **how)

    def decode(made: GeneratedTokens, **_: object) -> Tensor:
        return torch.stack([draw(by_caption[one]) for one in drawn[-len(made.tokens) :]])

    monkeypatch.setattr(model, "generate_tokens", imagine)
    monkeypatch.setattr(model, "decode", decode)
    monkeypatch.setattr(model, "reconstruct", lambda *_, **__: torch.stack([draw(scene) for scene in scenes]))
    pixels = torch.zeros(4, 3, 32, 32, dtype=torch.uint8)
    samples = [ClipSample(pixels, torch.arange(4.0), 0, clip, 0, (), draw(by_caption[clip.caption])) for clip in clips]
    all_clips = [sample.clip for sample in samples]
    batches = [HeldoutBatch(samples, [])]
    result = make_generation(OracleJudge())(model, batches, num_frames=19, all_clips=all_clips, progress=False)
    metrics = result.metrics()
    names = {"shape": "object", "colour": "colour", "motion_direction": "motion_direction", "speed": "speed"}
    for category, name in names.items():
        assert metrics[f"reconstruct/{category}"] == metrics[f"generate/{category}"] == 1
        assert metrics[f"generate/{category}_chance"] == pytest.approx(1 / CHOICES[category])
        alike = [
            clip.attributes[name] == attributes(by_caption[other])[name]
            for clip, other in zip(clips, drawn[len(clips) :], strict=True)
        ]
        assert metrics[f"control/{category}"] == pytest.approx(np.mean(alike))
        assert np.mean(alike) < 1
