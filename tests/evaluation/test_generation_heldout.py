"""The evaluation of generated videos on held-out clips: which clips are evaluated, and which are reported as broken."""

import logging
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from vtok.common.errors import UserError
from vtok.data import Clip, ClipSettings, LoaderSettings, Question, ShapesData
from vtok.data.clip import Span
from vtok.evaluation.generation import Generation
from vtok.evaluation.generation_result import GenerationResult
from vtok.evaluation.held_out import check_files, evaluate_generation_heldout, missing_files, with_choices
from vtok.evaluation.judge import OracleJudge, OwnJudge
from vtok.model import VideoLanguageModel

MakeModel = Callable[..., VideoLanguageModel]
MakeGeneration = Callable[..., Generation]
COLOUR = Question("colour", "choice", "what colour is it?", "red", ("red", "blue"))
MOVES = Question("motion_direction", "yes_no", "does it move left?", "yes", ("yes", "no"))
CAPTIONS = [f"caption {number}" for number in range(9)]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> ShapesData:
    """6 held-out clips of one moving object each, 19 frames of 32 x 32 pixels."""
    made = ShapesData(
        root=str(tmp_path_factory.mktemp("shapes")),
        clip=ClipSettings(size=32, num_frames=19),
        pixels=32,
        train_clips=0,
        validation_clips=1,
        test_clips=6,
        families=["motion"],
        make_workers=1,
    )
    made.prepare()
    return made


def evaluate(
    generation: Generation, model: VideoLanguageModel, source: ShapesData, clips: list[Clip], examples: int = 0
) -> GenerationResult:
    loader = LoaderSettings(num_workers=0)
    return evaluate_generation_heldout(
        generation, model, source, clips, loader=loader, precision=nullcontext(), examples=examples
    )


def test_at_most_max_clips_of_those_that_can_be_judged(
    make_model: MakeModel, make_generation: MakeGeneration, source: ShapesData, judge: Any
) -> None:
    """A clip without a caption does not count, and a broken one is reported."""
    clips = source.clips("test")
    clips[0] = replace(clips[0], caption=None)
    clips[2] = replace(clips[2], path=Path("missing.mp4"))
    result = evaluate(make_generation(judge, max_clips=4), make_model(), source, clips, examples=9)
    judged = [clips[number].id for number in (1, 3, 4)]
    kinds = [one for _, ids in judge.given for one in ids]
    assert sorted(kinds) == sorted(3 * judged)
    assert judge.num_frames == {19}
    assert judge.released == 1
    assert result.clips == 3
    assert [path for path, _ in result.bad] == [clips[2].label]
    assert [made.caption for made in result.examples] == [clips[number].caption for number in (1, 3, 4)]
    assert result.examples[0].truth.shape == result.examples[0].reconstructed.shape == (4, 3, 16, 16)


def test_a_model_that_reproduces_the_clips_is_perfect(
    make_model: MakeModel, make_generation: MakeGeneration, source: ShapesData, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The decoder's target frames (8 of 32 x 32) show the attributes of the data set."""
    model = make_model(lambdas=(1.0, 0.0, 1.0))
    monkeypatch.setattr(model.decoder, "num_frames", 8)
    monkeypatch.setattr(model.decoder, "size", 32)
    generation = replace(make_generation(OracleJudge()), batch_size=6)
    first = {}

    def reconstruct(*_: object, **__: object) -> torch.Tensor:
        return first.get("truth", torch.zeros(6, 8, 3, 32, 32, dtype=torch.uint8))

    monkeypatch.setattr(model, "reconstruct", reconstruct)
    nothing = evaluate(generation, model, source, source.clips("test"), examples=6)
    first["truth"] = torch.stack([made.truth for made in nothing.examples])
    right = evaluate(generation, model, source, source.clips("test")).metrics()
    for category in ("shape", "colour", "motion_direction", "speed"):
        assert nothing.metrics()[f"reconstruct/{category}"] == 0
        assert right[f"reconstruct/{category}"] == 1
        assert right[f"reconstruct/{category}_questions"] == 6


def test_a_warning_is_logged_if_no_clip_can_be_judged(
    make_model: MakeModel, make_generation: MakeGeneration, source: ShapesData, caplog: pytest.LogCaptureFixture
) -> None:
    clips = [replace(clip, attributes={}) for clip in source.clips("test")]
    with caplog.at_level(logging.WARNING):
        result = evaluate(make_generation(OracleJudge()), make_model(), source, clips)
    assert result.metrics() == {"generation/clips": 0.0}
    assert "none of the 6 held-out clips" in caplog.text
    assert "generation/judge=oracle" in caplog.text


def test_the_first_clip_is_named_if_none_can_be_read(
    make_model: MakeModel, make_generation: MakeGeneration, source: ShapesData, judge: Any
) -> None:
    clips = [replace(clip, path=Path(f"missing-{number}.mp4")) for number, clip in enumerate(source.clips("test"))]
    with pytest.raises(UserError, match=r"None of the 3 held-out clips can be read \(the first is missing-0\.mp4 "):
        evaluate(make_generation(judge, max_clips=3), make_model(), source, clips)


def test_a_model_without_generation_is_refused(
    make_model: MakeModel, make_generation: MakeGeneration, source: ShapesData, judge: Any
) -> None:
    model = make_model(lambdas=(1.0, 0.0, 0.0))
    with pytest.raises(ValueError, match="generates neither videos nor video tokens"):
        evaluate(make_generation(judge), model, source, source.clips("test"))


def test_clips_with_only_captions_can_be_judged_by_the_model_itself(
    make_model: MakeModel, make_generation: MakeGeneration, source: ShapesData
) -> None:
    """The question is which of four captions belongs to the clip; wrong ones are drawn from all clips."""
    clips = [
        replace(clip, questions=(MOVES,), attributes={}, caption=CAPTIONS[number])
        for number, clip in enumerate(source.clips("test"))
    ]
    metrics = evaluate(make_generation(OwnJudge(), max_clips=2), make_model(), source, clips).metrics()
    assert metrics["generation/clips"] == 2
    for kind in ("reconstruct", "generate", "control"):
        assert metrics[f"{kind}/caption_questions"] == 2
    assert metrics["reconstruct/caption_chance"] == metrics["generate/caption_chance"] == 0.25
    assert not [name for name in metrics if "motion_direction" in name]


def test_a_clip_that_has_a_choice_keeps_its_questions() -> None:
    own = Clip(id="a", path=Path("a"), caption=CAPTIONS[0], questions=(MOVES, COLOUR))
    assert with_choices(own, CAPTIONS) is own


@pytest.mark.parametrize("questions", [(), (MOVES,), (Question("other", "open", "what is it?", "a dog"),)])
def test_a_clip_without_a_choice_gets_a_question_about_its_caption(questions: tuple[Question, ...]) -> None:
    own = Clip(id="a", path=Path("a"), caption=CAPTIONS[0], questions=questions, attributes={"colour": "red"})
    asked = with_choices(own, CAPTIONS)
    (question,) = asked.questions
    assert replace(asked, questions=questions) == own
    assert (question.kind, question.category, question.answer) == ("choice", "caption", CAPTIONS[0])
    assert CAPTIONS[0] in question.choices
    assert len(set(question.choices)) == 4
    assert set(question.choices) <= set(CAPTIONS)
    assert with_choices(replace(own, caption=None), CAPTIONS).questions == ()
    assert with_choices(own, [CAPTIONS[0]]).questions == ()


def test_missing_files_are_found_without_reading_any(source: ShapesData, monkeypatch: pytest.MonkeyPatch) -> None:
    clips = source.clips("test")
    monkeypatch.setattr(source, "reader", None)
    assert missing_files(source, clips) == check_files(source, clips) == []
    gone = [replace(clip, path=Path(f"missing-{number}.mp4")) for number, clip in enumerate(clips)]
    assert missing_files(source, [*clips, gone[0]]) == [(gone[0].label, "the file does not exist")]
    for kind in ({"span": Span("s3://bucket/a.tar", 0, 1)}, {"path": Path("https://example.org/a.mp4")}):
        assert missing_files(source, [replace(gone[0], **kind)]) == []
    with pytest.raises(UserError, match=r"None of the 6 held-out clips can be read \(the first is missing-0\.mp4 "):
        check_files(source, gone)
