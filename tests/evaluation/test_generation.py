"""The evaluation of made videos, with a judge that only looks at a pixel: what is made, judged and counted."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from vtok.data import Clip, ClipSample, Question
from vtok.evaluation.generation import Generation, other_captions
from vtok.evaluation.judge import Judge
from vtok.evaluation.loading import Loaded
from vtok.model import Imagined, Sampling, VideoLanguageModel
from vtok.tokeniser import PlannedFrames

MakeModel = Callable[..., VideoLanguageModel]
MakeSample = Callable[..., ClipSample]
MakeGeneration = Callable[..., Generation]
NUM_FRAMES, PLANNED = 19, 4  # with a stride of 6


def make_perfect(model: VideoLanguageModel, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[dict[str, Any]]]:
    """Its videos show the number of the caption, or that of the clip; returns what it is asked for."""
    asked: dict[str, list[dict[str, Any]]] = {"generate": [], "reconstruct": []}

    def painted(numbers: Sequence[int]) -> Tensor:
        return torch.tensor(numbers, dtype=torch.uint8)[:, None, None, None, None].expand(-1, 4, 3, 16, 16)

    truly_imagine = model.imagine

    def imagine(captions: Sequence[str], **how: Any) -> Imagined:
        asked["generate"].append({"captions": list(captions), **how})
        return truly_imagine(captions, **how)

    def decode(made: Imagined, *, captions: Sequence[str], seeds: Sequence[int], sampling: Sampling) -> Tensor:
        assert list(captions) == asked["generate"][-1]["captions"]
        assert len(made.tokens) == len(captions)
        assert list(seeds) == asked["generate"][-1]["seeds"]
        return painted([int(caption.split()[-1]) for caption in asked["generate"][-1]["captions"]])

    def reconstruct(video: PlannedFrames, **how: Any) -> Tensor:
        asked["reconstruct"].append(how)
        return painted(video.frames[:, 0, 0, 0, 0].tolist())

    monkeypatch.setattr(model, "imagine", imagine)
    monkeypatch.setattr(model, "decode", decode)
    monkeypatch.setattr(model, "reconstruct", reconstruct)
    return asked


def test_a_perfect_model_is_always_right_and_its_controls_never(
    make_model: MakeModel,
    make_sample: MakeSample,
    make_generation: MakeGeneration,
    judge: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = make_model()
    asked = make_perfect(model, monkeypatch)
    batches = [
        Loaded([make_sample(1), make_sample(2), make_sample(3)], [("x.mp4", "it is empty")]),
        Loaded([], [("y.mp4", "it is empty")]),
        Loaded([make_sample(4), make_sample(5, caption=None)], []),
        Loaded([make_sample(6, caption=None)], []),
    ]
    result = make_generation(judge)(model, batches, num_frames=NUM_FRAMES, examples=2, progress=False)
    figures = result.metrics()
    for kind, share in (("reconstruct", 1.0), ("generate", 1.0), ("control", 0.0)):
        assert figures[f"{kind}/number"] == share
        assert figures[f"{kind}/number_questions"] == 4, "clips without a caption are left out"
        assert figures[f"{kind}/number_chance"] == 0.25
        assert f"{kind}/number" in result.table()
    assert {"visual/teacher_forced", "visual/rollout"} <= figures.keys()
    assert figures["generation/clips"] == result.clips == 4
    assert [path for path, _ in result.bad] == ["x.mp4", "y.mp4"]
    ids = [one for _, clips in judge.given for one in clips]
    assert sorted(ids) == sorted(3 * ["clip 1", "clip 2", "clip 3", "clip 4"])
    assert judge.num_frames == {NUM_FRAMES}
    assert [how.get("captions") for how in asked["reconstruct"]] == [None, None], "made of the tokens alone"
    assert [made.caption for made in result.examples] == ["video 1", "video 2"]
    for number, made in enumerate(result.examples, start=1):
        for video in (made.truth, made.reconstructed, made.generated):
            assert torch.equal(video, torch.full((4, 3, 16, 16), number, dtype=torch.uint8))
        assert made.verdicts["number"].right


def test_categories_are_counted_by_their_names(
    make_model: MakeModel,
    make_sample: MakeSample,
    make_generation: MakeGeneration,
    judge: Judge,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each over the clips that have it: the pixel is 1 or 2 in their own videos, and 2 or 1 in the controls."""
    model = make_model()
    make_perfect(model, monkeypatch)
    samples = [make_sample(1, colour="1", motion_direction="1"), make_sample(2, colour="1", speed="1")]
    figures = make_generation(judge)(model, [Loaded(samples, [])], num_frames=NUM_FRAMES, progress=False).metrics()
    for kind, moves, speed in (("reconstruct", 1, 0), ("generate", 1, 0), ("control", 0, 1)):
        assert figures[f"{kind}/colour"] == 0.5
        assert figures[f"{kind}/motion_direction"] == moves
        assert figures[f"{kind}/speed"] == speed
        questions = [figures[f"{kind}/{name}_questions"] for name in ("colour", "motion_direction", "speed")]
        assert questions == [2, 1, 1]


def test_controls_are_of_other_clips_and_have_the_clips_own_noise(
    make_model: MakeModel,
    make_sample: MakeSample,
    make_generation: MakeGeneration,
    judge: Judge,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """So that a control differs from the clip's own video by its caption alone."""
    seeds = []
    captions = [f"video {number}" for number in range(1, 6)]
    for seed in (0, 1):
        model = make_model()
        asked = make_perfect(model, monkeypatch)
        batches = [Loaded([make_sample(number) for number in range(1, 6)], [])]
        make_generation(judge, seed=seed)(model, batches, num_frames=NUM_FRAMES, progress=False)
        own, *controls = asked["generate"]
        assert own["captions"] == captions
        drawn = [caption for part in controls for caption in part["captions"]]
        assert len(drawn) == 5
        assert set(drawn) <= set(captions)
        assert all(other != caption for other, caption in zip(drawn, captions, strict=True))
        assert [len(part["captions"]) for part in controls] == [2, 2, 1], "batch_size at once"
        assert [one for part in controls for one in part["seeds"]] == own["seeds"] == asked["reconstruct"][0]["seeds"]
        assert {part["num_planned"] for part in asked["generate"]} == {PLANNED}
        seeds += own["seeds"]
    assert len(set(seeds)) == 10, "every clip has its own, and another one with another seed"


def test_a_model_that_imagines_nothing_is_only_reconstructed(
    make_model: MakeModel,
    make_sample: MakeSample,
    make_generation: MakeGeneration,
    judge: Judge,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = make_model(lambdas=(1.0, 0.0, 1.0))
    asked = make_perfect(model, monkeypatch)
    batches = [Loaded([make_sample(1), make_sample(2)], [])]
    result = make_generation(judge)(model, batches, num_frames=NUM_FRAMES, examples=5, progress=False)
    assert asked["generate"] == []
    assert {name.partition("/")[0] for name in result.metrics()} == {"generation", "reconstruct"}
    assert result.metrics()["reconstruct/number"] == 1
    assert [made.generated for made in result.examples] == [None, None]
    assert all(made.verdicts["number"].right for made in result.examples)
    assert "visual" not in result.table()


def test_of_no_clips_there_are_no_figures(make_model: MakeModel, make_generation: MakeGeneration, judge: Judge) -> None:
    result = make_generation(judge)(make_model(), [Loaded([], [("x.mp4", "gone")])], num_frames=19, progress=False)
    assert result.metrics() == {"generation/clips": 0.0}
    assert result.bad == [("x.mp4", "gone")]


def test_only_what_has_a_caption_and_can_be_judged_is_taken(
    make_sample: MakeSample, make_generation: MakeGeneration, judge: Judge
) -> None:
    generation = make_generation(judge, max_clips=7)
    question = Question("colour", "choice", "which?", "red", ("red", "blue"))
    assert generation.takes(make_sample(1).clip)
    assert not generation.takes(make_sample(1, caption=None).clip)
    assert not generation.takes(Clip(id="a", path=Path("a"), caption="a dog", questions=(question,)))
    assert (generation.max_clips, generation.while_training().max_clips) == (7, 2)
    assert generation.while_training().judge is judge


def test_other_captions_are_of_clips_that_show_the_same_categories() -> None:
    def clip(name: str, caption: str) -> Clip:
        return Clip(id=name, path=Path("none"), caption=caption)

    moving = [(clip(f"m{n}", f"it moves {n}"), ("colour", "motion_direction")) for n in range(8)]
    standing = [(clip(f"s{n}", f"{n} stand"), ("colour", "count")) for n in range(3)]
    drawn = dict(zip([one.id for one, _ in moving + standing], other_captions(moving + standing), strict=True))
    for group in (moving, standing):
        captions = {one.caption for one, _ in group}
        assert all(drawn[one.id] in captions - {one.caption} for one, _ in group)
    assert len({drawn[one.id] for one, _ in moving}) > 2
    shuffled = standing[::-1] + moving[::-1]
    assert dict(zip([one.id for one, _ in shuffled], other_captions(shuffled), strict=True)) == drawn


def test_where_all_alike_have_one_caption_any_other_does() -> None:
    moving = [(Clip(id=str(n), path=Path("none"), caption=f"it moves {n}"), ("speed",)) for n in range(3)]
    dogs = [(Clip(id=name, path=Path("none"), caption="a dog"), ("colour",)) for name in "xy"]
    assert set(other_captions([*moving, *dogs])[-2:]) <= {clip.caption for clip, _ in moving}
    assert other_captions(dogs) == ["a dog", "a dog"]
    assert other_captions([]) == []


def test_token_errors_are_found_without_a_decoder(
    make_model: MakeModel, make_sample: MakeSample, make_generation: MakeGeneration, judge: Any
) -> None:
    """Of all clips with a caption: what the judge could say does not matter where no video is made."""
    model = make_model(lambdas=(1.0, 1.0, 0.0))
    unjudged = replace(make_sample(1), target=None)
    unjudged = replace(unjudged, clip=replace(unjudged.clip, attributes={}, questions=()))
    result = make_generation(judge)(model, [Loaded([unjudged], [])], num_frames=NUM_FRAMES, examples=1, progress=False)
    assert {"visual/teacher_forced", "visual/rollout"} <= result.metrics().keys()
    assert result.clips == 1
    assert not result.tallies
    assert not result.examples
    assert not judge.given
