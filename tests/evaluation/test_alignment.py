from pathlib import Path

import pytest
import torch

from vtok.backbone import TinyBackbone
from vtok.batch import stack_frames, stack_text
from vtok.data import BadVideoError, Clip, ClipSample, Question
from vtok.decoder import NoDecoder
from vtok.evaluation.alignment import Alignment
from vtok.evaluation.choice import choose, mention, questions_of
from vtok.evaluation.loading import Loaded, sort_out
from vtok.mllm import TinyLanguageModel
from vtok.model import VideoLanguageModel
from vtok.objective import Objective
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


def test_the_choice_is_the_likeliest_answer(model: VideoLanguageModel) -> None:
    samples = [sample(COLOUR), sample(COLOUR, MOVES, name="b", frames=2)]
    video = model.eval().tokeniser.encode_planned(stack_frames(samples))
    asked = [(0, COLOUR), (1, COLOUR), (1, MOVES)]
    with torch.no_grad():
        for (row, question), answer in zip(asked, choose(model, video, asked, sequences_at_once=4), strict=True):
            tokens = int(video.mask[row].sum())
            scores = []
            for choice in question.choices:
                chat = model.mllm.chat.encode([(question.text, choice)], num_video_tokens=tokens)
                ids = torch.tensor([chat.ids])
                projected = model.projector(video.tokens[row : row + 1])
                embeddings = model.mllm.embed(ids, projected, video.mask[row : row + 1])
                logits = model.mllm.model(inputs_embeds=embeddings).logits[0].log_softmax(-1)
                scores.append(sum(float(logits[i - 1, label]) for i, label in enumerate(chat.labels) if label >= 0))
            assert answer == question.choices[scores.index(max(scores))]


def test_counts_chances_and_broken_clips(model: VideoLanguageModel, alignment: Alignment) -> None:
    batches = [
        Loaded([sample(COLOUR, MOVES, colour="red")], [("x.mp4", "it is empty")]),
        Loaded([], [("y.mp4", "it is empty")]),
        Loaded([sample(COLOUR, name="b", colour="blue")], []),
    ]
    result = alignment(model, batches, examples=1, progress=False)  # type: ignore[arg-type]
    figures = result.metrics()
    assert figures["alignment/colour_questions"] == 2
    assert figures["alignment/colour_chance"] == pytest.approx(1 / 3)
    assert figures["alignment_yes_no/motion_direction_chance"] == 0.5
    assert figures["alignment/colour_low"] <= figures["alignment/colour"] <= figures["alignment/colour_high"]
    assert figures["caption/colour_questions"] == 2
    assert result.clips == 2
    assert [path for path, _ in result.bad] == ["x.mp4", "y.mp4"]
    assert len(result.examples) == 1
    assert result.examples[0].answers[0][2] == "red"
    assert "alignment/colour" in result.table()


def test_clips_with_captions_alone_are_told_apart_by_them() -> None:
    captions = ("a dog", "a cat", "a dog", "a house", "a tree", "a car")
    clip = sample(caption="a dog").clip
    question = questions_of(clip, captions)[0]
    assert question.answer == "a dog"
    assert len(question.choices) == 4 == len(set(question.choices))
    assert questions_of(clip, captions[::-1]) == [question]
    assert questions_of(clip, ["a dog"]) == []
    assert questions_of(sample(COLOUR, caption="a dog").clip, captions) == [COLOUR]


def test_captions_are_compared_by_their_mean_a_token(model: VideoLanguageModel) -> None:
    words = "a long caption of many words about nothing in particular"
    question = Question("caption", "choice", "describe the video.", "short", ("short", words))
    video = model.eval().tokeniser.encode_planned(stack_frames([sample()]))
    tokens = int(video.mask.sum())
    with torch.no_grad():
        means = []
        for choice in question.choices:
            chat = model.mllm.chat.encode([(question.text, choice)], num_video_tokens=tokens)
            text = stack_text([chat], pad_id=model.mllm.chat.pad_id)
            means.append(float(model.text_logprobs(video, text).sum()) / sum(label >= 0 for label in chat.labels))
        chosen = choose(model, video, [(0, question)], sequences_at_once=4)
    assert chosen == [question.choices[means.index(max(means))]]


@pytest.mark.parametrize(
    ("caption", "truth", "found"),
    [
        ("a red circle moves left", "left", True),
        ("two blue circles standing still", "circle", True),
        ("two green crosses", "cross", True),
        ("a crossing", "cross", False),
        ("it moves left then up", "left then up", True),
        ("it moves up then left", "left then up", False),
    ],
)
def test_a_caption_is_searched_for_words(caption: str, truth: str, found: bool) -> None:
    assert (mention(caption, truth) is not None) is found


def test_broken_clips_are_sorted_out() -> None:
    good = sample(COLOUR)
    loaded = sort_out([good, BadVideoError("z.mp4", "it is empty")])
    assert loaded.samples == [good]
    assert loaded.bad == [("z.mp4", "it is empty")]
