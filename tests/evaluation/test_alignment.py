import copy
import random
from pathlib import Path

import pytest
import torch

from vtok.backbone import TinyBackbone
from vtok.common.errors import UserError
from vtok.data import BadVideoError, Clip, ClipSample, Question
from vtok.decoder import NoDecoder
from vtok.evaluation.alignment import Alignment, Evaluation
from vtok.evaluation.choice import questions_of
from vtok.evaluation.clips import HeldoutBatch, collate_heldout
from vtok.mllm import TinyLanguageModel
from vtok.model import Objective, VideoLanguageModel
from vtok.tokeniser import VTokTokeniser
from vtok.visual_head import NoVisualHead

COLOUR = Question("colour", "choice", "what colour is it?", "red", ("red", "a very dark green", "blue"))
MOVES = Question("motion_direction", "yes_no", "does it move left?", "yes", ("yes", "no"))


def sample(
    *questions: Question, caption: str | None = None, name: str = "a", frames: int = 3, **truth: str
) -> ClipSample:
    clip = Clip(id=name, path=Path(name), caption=caption, questions=questions, attributes=truth)
    pixels = torch.randint(0, 256, (frames, 3, 64, 64), dtype=torch.uint8)
    return ClipSample(pixels, torch.arange(float(frames)), 0, clip, 0, ())


@pytest.fixture(scope="module")
def model() -> VideoLanguageModel:
    torch.manual_seed(0)
    return make_model()


def make_model() -> VideoLanguageModel:
    mllm = TinyLanguageModel(width=32, layers=1, heads=2)
    tokeniser = VTokTokeniser(TinyBackbone(feature_dim=16, width=8))
    return VideoLanguageModel(
        tokeniser=tokeniser,
        mllm=mllm,
        visual_head=NoVisualHead,
        decoder=NoDecoder,
        objective=Objective(lambda_under=1.0, lambda_visLM=0.0, lambda_dec=0.0),
    )


@pytest.fixture
def alignment() -> Alignment:
    return Alignment(max_clips=None, batch_size=4, sequences_at_once=4, captions=True, max_new_tokens=4)


def test_counts_chances_and_broken_clips(model: VideoLanguageModel, alignment: Alignment) -> None:
    batches = [
        HeldoutBatch([sample(COLOUR, MOVES, colour="red")], [("x.mp4", "it is empty")]),
        HeldoutBatch([], [("y.mp4", "it is empty")]),
        HeldoutBatch([sample(COLOUR, name="b", colour="blue")], []),
    ]
    result = alignment(model, batches, examples=1, progress=False)  # type: ignore[arg-type]
    metrics = result.metrics()
    assert metrics["alignment/colour_questions"] == 2
    assert metrics["alignment/colour_chance"] == pytest.approx(1 / 3)
    # There is one question, whose answer is the majority.
    assert metrics["alignment_yes_no/motion_direction_chance"] == 1
    assert metrics["alignment/colour_low"] <= metrics["alignment/colour"] <= metrics["alignment/colour_high"]
    assert metrics["caption/colour_questions"] == 2
    assert result.clips == 2
    assert [path for path, _ in result.bad] == ["x.mp4", "y.mp4"]
    assert len(result.examples) == 1
    assert result.examples[0].answers[0][2] == "red"
    assert "alignment/colour" in result.table()


def test_yes_or_no_questions_can_be_left_out(model: VideoLanguageModel) -> None:
    batches = [HeldoutBatch([sample(COLOUR, MOVES, colour="red")], [])]
    result = Alignment(yes_no=False, captions=False)(model, batches, progress=False)
    assert [one.kind for one in result.answers] == ["choice"]


def test_answers_of_several_processes_are_those_of_one_in_the_order_of_the_clips(
    model: VideoLanguageModel, alignment: Alignment
) -> None:
    torch.manual_seed(1)
    samples = [sample(COLOUR, MOVES, name=f"clip {number}", colour="red") for number in range(5)]
    clips = [one.clip for one in samples]
    parts = {
        processes: [
            alignment(model, [HeldoutBatch([one], []) for one in samples[rank::processes]], progress=False)
            for rank in range(processes)
        ]
        for processes in (1, 3)
    }
    one, three = (Evaluation.merged(part, clips, examples=0) for part in parts.values())
    assert one.answers == three.answers
    assert [(answer.clip, answer.kind) for answer in three.answers] == [
        (clip.id, kind) for clip in clips for kind in ("choice", "yes_no", "caption")
    ]
    first, yes, caption = three.answers[:3]
    assert (first.question, first.choices, first.truth) == (COLOUR.text, COLOUR.choices, "red")
    assert first.group == clips[0].cluster
    assert first.right == (first.answer == "red")
    assert first.answer == COLOUR.choices[max(range(3), key=first.token.__getitem__)]
    assert (yes.chance, caption.choices, caption.token) == (0.5, (), ())
    assert "Choices are scored by evaluation.score=token." in three.table()


def test_clips_with_only_captions_get_a_question_about_them() -> None:
    captions = ("a dog", "a cat", "a dog", "a house", "a tree", "a car")
    clip = sample(caption="a dog").clip
    question = questions_of(clip, captions)[0]
    assert question.answer == "a dog"
    assert len(question.choices) == 4 == len(set(question.choices))
    assert questions_of(clip, captions[::-1]) == [question]
    assert questions_of(clip, ["a dog"]) == []
    assert questions_of(sample(COLOUR, caption="a dog").clip, captions) == [COLOUR]


def test_a_generated_caption_is_right_if_it_names_only_the_truth(
    model: VideoLanguageModel, alignment: Alignment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Values in the clip's own caption are true as well."""
    ways = frozenset({"left", "right", "up", "left then up"})
    clips = {
        "it moves left": ("left", 1.0),
        "it moves left right up": ("left", 0.0),
        "it moves left then up": ("left", 0.0),
        "it moves left while a dog moves right": ("left", 1.0),
    }
    for written, (truth, right) in clips.items():
        monkeypatch.setattr(model, "answer", lambda *_, written=written, **__: [written])
        one = sample(caption="it moves left while a dog moves right", way=truth)
        if "dog" not in written:
            one = sample(caption="it moves left", way=truth)
        result = alignment(model, [HeldoutBatch([one], [])], values={"": {"way": ways}}, progress=False)
        assert result.metrics()["caption/way"] == right, written


def test_nan_weights_are_refused(model: VideoLanguageModel, alignment: Alignment) -> None:
    """As after an overflow in the last step. With NaN the first choice would always win."""
    broken = copy.deepcopy(model)
    with torch.no_grad():
        broken.mllm.model.lm_head.weight.fill_(float("nan"))
    for one in (sample(COLOUR), sample(colour="red")):
        with pytest.raises(UserError, match="not finite numbers"):
            alignment(broken, [HeldoutBatch([one], [])], progress=False)


def test_an_untrained_model_is_at_chance_whatever_the_lengths_of_answers(alignment: Alignment) -> None:
    """All right answers are the shortest ones, which an untrained model must not prefer except by the score total."""
    words = ["red", "blue", "green", "left", "right", "dog", "cat", "house", "tree", "road", "water", "fast", "old"]
    rng = random.Random(0)
    questions = []
    for _ in range(29):
        answers = tuple(" ".join(rng.choices(words, k=length)) for length in rng.sample(range(1, 9), 3))
        questions.append(Question("text", "choice", "what is it?", min(answers, key=len), answers))
    torch.manual_seed(0)
    result = alignment(make_model(), [HeldoutBatch([sample(*questions)], [])], progress=False).metrics()
    # Chance is 9.7, with a spread of 2.5.
    for figure in ("alignment/text", "alignment/text_by_token", "alignment/text_by_prior"):
        assert result[figure] * 29 <= 15, figure
    assert result["alignment/text_by_total"] == 1
    assert result["alignment/text"] == result["alignment/text_by_token"]


def test_broken_clips_are_separated_from_samples() -> None:
    good = sample(COLOUR)
    loaded = collate_heldout([good, BadVideoError("z.mp4", "it is empty")])
    assert loaded.samples == [good]
    assert loaded.bad == [("z.mp4", "it is empty")]
