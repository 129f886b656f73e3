"""The evaluation of generated videos, with a judge that only reads a pixel."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from vtok.common.errors import UserError
from vtok.data import Clip, ClipSample, Question
from vtok.evaluation.clips import HeldoutBatch
from vtok.evaluation.control import Controls
from vtok.evaluation.generation import Generation
from vtok.evaluation.generation_result import GenerationResult
from vtok.evaluation.judge import Judge, Verdict
from vtok.model.video_language_model import VideoLanguageModel
from vtok.model.visual_states import GeneratedTokens, Sampling
from vtok.tokeniser import PlannedFrames

MakeModel = Callable[..., VideoLanguageModel]
MakeSample = Callable[..., ClipSample]
MakeGeneration = Callable[..., Generation]
NUM_FRAMES, PLANNED = 19, 4  # with a stride of 6


def make_perfect(model: VideoLanguageModel, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[dict[str, Any]]]:
    """Make a model's videos show the number of the caption or of the clip; returns the recorded calls."""
    asked: dict[str, list[dict[str, Any]]] = {"generate": [], "reconstruct": []}

    def painted(numbers: Sequence[int]) -> Tensor:
        return torch.tensor(numbers, dtype=torch.uint8)[:, None, None, None, None].expand(-1, 4, 3, 16, 16)

    truly_imagine = model.generate_tokens

    def imagine(captions: Sequence[str], **how: Any) -> GeneratedTokens:
        asked["generate"].append({"captions": list(captions), **how})
        return truly_imagine(captions, **how)

    def decode(made: GeneratedTokens, *, captions: Sequence[str], seeds: Sequence[int], sampling: Sampling) -> Tensor:
        assert list(captions) == asked["generate"][-1]["captions"]
        assert len(made.tokens) == len(captions)
        assert list(seeds) == asked["generate"][-1]["seeds"]
        return painted([int(caption.split()[-1]) for caption in asked["generate"][-1]["captions"]])

    def reconstruct(video: PlannedFrames, **how: Any) -> Tensor:
        asked["reconstruct"].append(how)
        return painted(video.frames[:, 0, 0, 0, 0].tolist())

    monkeypatch.setattr(model, "generate_tokens", imagine)
    monkeypatch.setattr(model, "decode", decode)
    monkeypatch.setattr(model, "reconstruct", reconstruct)
    return asked


def run(
    generation: Generation, model: VideoLanguageModel, batches: list[HeldoutBatch], *, examples: int = 0
) -> GenerationResult:
    all_clips = [sample.clip for loaded in batches for sample in loaded.samples if sample.clip.caption]
    return generation(model, batches, num_frames=NUM_FRAMES, all_clips=all_clips, examples=examples, progress=False)


def controls_of(all_clips: Sequence[Clip]) -> dict[str, str]:
    controls = Controls(all_clips, lambda clip: clip.attributes)
    return {clip.id: controls.caption(clip) for clip in all_clips}


def test_a_perfect_model_is_always_right_and_its_controls_by_coincidence(
    make_model: MakeModel,
    make_sample: MakeSample,
    make_generation: MakeGeneration,
    judge: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = make_model()
    asked = make_perfect(model, monkeypatch)
    batches = [
        HeldoutBatch([make_sample(1), make_sample(2), make_sample(3)], [("x.mp4", "it is empty")]),
        HeldoutBatch([], [("y.mp4", "it is empty")]),
        HeldoutBatch([make_sample(4), make_sample(5, caption=None)], []),
        HeldoutBatch([make_sample(6, caption=None)], []),
    ]
    result = run(make_generation(judge), model, batches, examples=2)
    metrics = result.metrics()
    drawn = controls_of([sample.clip for loaded in batches for sample in loaded.samples if sample.clip.caption])
    own = sum(caption.replace("video", "clip") == name for name, caption in drawn.items()) / 4
    for kind, share in (("reconstruct", 1.0), ("generate", 1.0), ("control", own)):
        assert metrics[f"{kind}/number"] == share
        assert metrics[f"{kind}/number_questions"] == 4, "clips without a caption are left out"
        assert metrics[f"{kind}/number_chance"] == 0.25
        assert f"{kind}/number" in result.table()
    assert {"visual/teacher_forced", "visual/rollout"} <= metrics.keys()
    assert metrics["generation/clips"] == result.clips == 4
    assert [path for path, _ in result.bad] == ["x.mp4", "y.mp4"]
    ids = [one for _, clips in judge.given for one in clips]
    assert sorted(ids) == sorted(3 * ["clip 1", "clip 2", "clip 3", "clip 4"])
    assert judge.num_frames == {NUM_FRAMES}
    for (_, clips), intervals in zip(judge.given, judge.intervals, strict=True):
        assert intervals == [float(clip.removeprefix("clip ")) / 8 for clip in clips], "seconds of the clip's frames"
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
    """A category counts the clips that have it. Controls have the same categories: here they are the clip itself."""
    model = make_model()
    make_perfect(model, monkeypatch)
    samples = [make_sample(1, colour="1", motion_direction="1"), make_sample(2, colour="1", speed="1")]
    metrics = run(make_generation(judge), model, [HeldoutBatch(samples, [])]).metrics()
    for kind, moves, speed in (("reconstruct", 1, 0), ("generate", 1, 0), ("control", 1, 0)):
        assert metrics[f"{kind}/colour"] == 0.5
        assert metrics[f"{kind}/motion_direction"] == moves
        assert metrics[f"{kind}/speed"] == speed
        questions = [metrics[f"{kind}/{name}_questions"] for name in ("colour", "motion_direction", "speed")]
        assert questions == [2, 1, 1]


def test_controls_have_the_clips_own_noise(
    make_model: MakeModel,
    make_sample: MakeSample,
    make_generation: MakeGeneration,
    judge: Judge,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A control differs from the clip's generated video only in the caption."""
    seeds = []
    captions = [f"video {number}" for number in range(1, 6)]
    for seed in (0, 1):
        model = make_model()
        asked = make_perfect(model, monkeypatch)
        batches = [HeldoutBatch([make_sample(number) for number in range(1, 6)], [])]
        run(make_generation(judge, seed=seed), model, batches)
        own, *controls = asked["generate"]
        assert own["captions"] == captions
        drawn = [caption for part in controls for caption in part["captions"]]
        assert drawn == list(controls_of([sample.clip for sample in batches[0].samples]).values())
        assert set(drawn) <= set(captions)
        assert [len(part["captions"]) for part in controls] == [2, 2, 1], "batch_size at once"
        assert [one for part in controls for one in part["seeds"]] == own["seeds"] == asked["reconstruct"][0]["seeds"]
        assert {part["num_planned"] for part in asked["generate"]} == {PLANNED}
        seeds += own["seeds"]
    assert len(set(seeds)) == 10, "every clip has its own, and another one with another seed"


def test_a_model_without_visual_head_is_only_reconstructed(
    make_model: MakeModel,
    make_sample: MakeSample,
    make_generation: MakeGeneration,
    judge: Judge,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = make_model(lambdas=(1.0, 0.0, 1.0))
    asked = make_perfect(model, monkeypatch)
    batches = [HeldoutBatch([make_sample(1), make_sample(2)], [])]
    result = run(make_generation(judge), model, batches, examples=5)
    assert asked["generate"] == []
    assert {name.partition("/")[0] for name in result.metrics()} == {"generation", "reconstruct"}
    assert result.metrics()["reconstruct/number"] == 1
    assert [made.generated for made in result.examples] == [None, None]
    assert all(made.verdicts["number"].right for made in result.examples)
    assert "visual" not in result.table()


def test_without_clips_there_are_no_accuracies(
    make_model: MakeModel, make_generation: MakeGeneration, judge: Judge
) -> None:
    result = run(make_generation(judge), make_model(), [HeldoutBatch([], [("x.mp4", "gone")])])
    assert result.metrics() == {"generation/clips": 0.0}
    assert result.bad == [("x.mp4", "gone")]


def test_only_clips_with_a_caption_that_can_be_judged_are_evaluated(
    make_sample: MakeSample, make_generation: MakeGeneration, judge: Judge
) -> None:
    generation = make_generation(judge, max_clips=7)
    question = Question("colour", "choice", "which?", "red", ("red", "blue"))
    assert generation.evaluates(make_sample(1).clip)
    assert not generation.evaluates(make_sample(1, caption=None).clip)
    assert not generation.evaluates(Clip(id="a", path=Path("a"), caption="a dog", questions=(question,)))
    assert (generation.max_clips, generation.while_training().max_clips) == (7, 2)
    assert generation.while_training().judge is judge


def moving(number: int, **attributes: str) -> Clip:
    return Clip(id=f"{number}", path=Path(f"{number}.mp4"), caption=f"it moves {number}", attributes=attributes)


def test_controls_are_drawn_from_clips_with_the_same_categories() -> None:
    moves = [moving(number, colour="red", way="left") for number in range(8)]
    stands = [moving(number, colour="red", count="two") for number in range(8, 11)]
    drawn = controls_of(moves + stands)
    for group in (moves, stands):
        assert {drawn[clip.id] for clip in group} <= {clip.caption for clip in group}
    assert len({drawn[clip.id] for clip in moves}) > 2


def test_a_perfect_control_is_right_as_often_as_its_chance() -> None:
    """Over many clips its chance is the probability that two random clips agree, 0.4**2 + 0.6**2 here."""
    clips = [moving(number, way="left" if number % 5 < 2 else "right") for number in range(2000)]
    controls = Controls(clips, lambda clip: clip.attributes)
    truths = {clip.caption: clip.attributes["way"] for clip in clips}
    agreed = sum(truths[controls.caption(clip)] == clip.attributes["way"] for clip in clips) / len(clips)
    verdicts = [{"way": Verdict("up", clip.attributes["way"], ("left", "right", "up"))} for clip in clips]
    chance = sum(controls.chances(*one)["way"] for one in zip(clips, verdicts, strict=True)) / len(clips)
    assert chance == pytest.approx(0.52)
    assert agreed == pytest.approx(chance, abs=3 * (0.52 * 0.48 / 2000) ** 0.5)
    # For a value that is not among its choices, the judge guesses.
    assert controls.chances(clips[0], {"way": Verdict("up", "left", ("left", "up"))})["way"] == pytest.approx(0.7)


def test_controls_do_not_depend_on_the_number_of_processes(
    make_model: MakeModel, make_sample: MakeSample, make_generation: MakeGeneration, judge: Any
) -> None:
    model, samples = make_model(), [make_sample(number % 2, caption=f"video {number}") for number in range(4)]
    samples = [replace(one, clip=replace(one.clip, id=f"{place}")) for place, one in enumerate(samples)]
    all_clips = [sample.clip for sample in samples]
    results = []
    for processes in (1, 2):
        parts = [
            make_generation(judge)(
                model,
                [HeldoutBatch(samples[rank::processes], [])],
                num_frames=NUM_FRAMES,
                all_clips=all_clips,
                progress=False,
            )
            for rank in range(processes)
        ]
        results.append(GenerationResult.merged(parts, all_clips, examples=0))
    assert results[0].metrics() == pytest.approx(results[1].metrics())
    assert results[0].answers == results[1].answers
    assert [one.clip for one in results[0].answers if one.kind == "control"] == ["0", "1", "2", "3"]
    assert all(one.question == f"video {one.clip}" for one in results[0].answers if one.kind == "generate")
    assert all(one.question == "" for one in results[0].answers if one.kind == "reconstruct")


def test_unseen_clips_are_judged_apart(
    make_model: MakeModel,
    make_sample: MakeSample,
    make_generation: MakeGeneration,
    judge: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = make_model()
    make_perfect(model, monkeypatch)
    samples = [make_sample(number) for number in (1, 2, 3)]
    samples[2] = replace(samples[2], clip=replace(samples[2].clip, unseen=True))
    metrics = run(make_generation(judge), model, [HeldoutBatch(samples, [])]).metrics()
    questions = {kind: metrics[f"{kind}/number_questions"] for kind in ("reconstruct", "generate", "unseen", "control")}
    assert questions == {"reconstruct": 3, "generate": 2, "unseen": 1, "control": 3}


def test_a_decoder_with_nan_weights_is_refused(
    make_model: MakeModel, make_sample: MakeSample, make_generation: MakeGeneration, judge: Judge
) -> None:
    model = make_model()
    with torch.no_grad():
        next(model.decoder.transformer.parameters()).fill_(float("nan"))
    with pytest.raises(UserError, match="decoder's frames are not finite"):
        run(make_generation(judge), model, [HeldoutBatch([make_sample(1)], [])])


def test_token_errors_are_measured_without_a_decoder(
    make_model: MakeModel, make_sample: MakeSample, make_generation: MakeGeneration, judge: Any
) -> None:
    """For all clips with a caption: the judge does not matter if no video is generated."""
    model = make_model(lambdas=(1.0, 1.0, 0.0))
    unjudged = replace(make_sample(1), target=None)
    unjudged = replace(unjudged, clip=replace(unjudged.clip, attributes={}, questions=()))
    result = run(make_generation(judge), model, [HeldoutBatch([unjudged], [])], examples=1)
    assert {"visual/teacher_forced", "visual/rollout"} <= result.metrics().keys()
    assert result.clips == 1
    assert not result.answers
    assert not result.examples
    assert not judge.given
