from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import pytest
import torch

from vtok.backbone import TinyBackbone
from vtok.data import Clip, Question
from vtok.decoder import NoDecoder
from vtok.evaluation.answers import SCORES, best_choice
from vtok.evaluation.choice import Chooser, choose, mention, names_only, questions_of
from vtok.mllm import AnswerScores, TinyLanguageModel
from vtok.model import Objective, VideoLanguageModel
from vtok.model.batch import Text
from vtok.tokeniser import PlannedFrames, VideoTokens, VTokTokeniser
from vtok.visual_head import NoVisualHead

COLOUR = Question("colour", "choice", "what colour is it?", "red", ("red", "a very dark green", "blue"))
MOVES = Question("motion_direction", "yes_no", "does it move left?", "yes", ("yes", "no"))
OPEN = Question("other", "open", "what is it?", "a dog")
CAPTIONS = ("a dog", "a cat", "a dog", "a house", "a tree", "a car")


@pytest.fixture(scope="module")
def model() -> VideoLanguageModel:
    torch.manual_seed(0)
    return VideoLanguageModel(
        tokeniser=VTokTokeniser(TinyBackbone(feature_dim=16, width=8), grid_size=2),
        mllm=TinyLanguageModel(width=32, layers=1, heads=2),
        visual_head=NoVisualHead,
        decoder=NoDecoder,
        objective=Objective(lambda_visLM=0.0, lambda_dec=0.0),
    ).eval()


@pytest.fixture(scope="module")
def video(model: VideoLanguageModel) -> VideoTokens:
    """The tokens of clips of 3, 1 and 2 planned frames."""
    frames = torch.randint(0, 256, (3, 3, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    mask = torch.arange(3) < torch.tensor([3, 1, 2]).unsqueeze(1)
    with torch.no_grad():
        times = torch.arange(3.0).expand(3, -1)
        return model.tokeniser.encode_planned(PlannedFrames(frames, torch.zeros(3, dtype=torch.long), mask, times))


@torch.no_grad()
def answer_logprobs(
    model: VideoLanguageModel, video: VideoTokens, row: int, question: Question, choice: str
) -> list[float]:
    """The log-probability of each token of the answer, from transformers' logits for this sequence alone."""
    real = video.mask[row : row + 1]
    chat = model.mllm.chat.encode([(question.text, choice)], num_video_tokens=int(real.sum()))
    projected = model.projector(video.tokens[row : row + 1])
    embeddings = model.mllm.embed(torch.tensor([chat.ids]), projected, real)
    logprobs = model.mllm.model(inputs_embeds=embeddings).logits[0].log_softmax(-1)
    return [float(logprobs[place, target]) for place, target in enumerate(chat.targets) if target >= 0]


def by_hand(model: VideoLanguageModel, video: VideoTokens, row: int, question: Question, score: str) -> str:
    """The best choice, with one sequence at a time."""
    none = video.at(torch.zeros(1, 0, dtype=torch.long))

    def worth(choice: str) -> float:
        logprobs = answer_logprobs(model, video, row, question, choice)
        if score == "prior":
            return sum(logprobs) - sum(answer_logprobs(model, none, row, question, choice))
        return sum(logprobs) / (len(logprobs) if score == "token" else 1)

    return max(question.choices, key=worth)


def best(asked: Sequence[tuple[int, Question]], scores: Sequence[dict[str, tuple[float, ...]]]) -> list[dict[str, str]]:
    """The best choice of each question by each score."""
    return [
        {score: best_choice(question.choices, values) for score, values in one.items()}
        for (_, question), one in zip(asked, scores, strict=True)
    ]


@pytest.mark.parametrize("at_once", [1, 4, 512])
def test_the_most_likely_choice_by_each_score(model: VideoLanguageModel, video: VideoTokens, at_once: int) -> None:
    """For clips with different numbers of tokens, and for any number of sequences at once."""
    words = ["red", "yellow", "green", "blue", "purple", "white", "grey", "one", "two", "three", "a very dark green"]
    asked = [
        (row, Question("thing", "choice", text, "", tuple(words[start::2])))
        for start, text in enumerate(("what colour is it?", "how many objects are there?"))
        for row in (0, 1, 2, 0)
    ]
    chooser = Chooser(model, at_once)
    with torch.no_grad():
        chosen = best(asked, chooser(video, asked))
        assert chooser(video, []) == []
        for score in SCORES:
            expected = [by_hand(model, video, row, question, score) for row, question in asked]
            assert [one[score] for one in chosen] == expected
            assert len(set(expected)) > 1, "the same answer everywhere would be no test"
        assert choose(model, video, asked, sequences_at_once=at_once) == [one["token"] for one in chosen]
    assert len(chooser.priors) == sum(len(question.choices) for _, question in asked[::4]), "each is found once"


def test_scores_token_and_total_agree_for_answers_of_equal_length(
    model: VideoLanguageModel, video: VideoTokens
) -> None:
    words = ("red", "blue", "green", "white", "dog", "cat", "left", "right")
    assert len({len(model.mllm.chat.encode([("a", word)], num_video_tokens=0).ids) for word in words}) == 1
    asked = [(row, Question("thing", "choice", word, "", words)) for row in range(3) for word in words]
    with torch.no_grad():
        assert all(one["token"] == one["total"] for one in best(asked, Chooser(model, 64)(video, asked)))


@pytest.mark.parametrize("at_once", [3, 512])
def test_the_order_of_the_choices_changes_no_answer_and_no_score(
    model: VideoLanguageModel, video: VideoTokens, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not by rounding errors either, which depend on the place of a sequence in its batch."""
    exact = model.text_scores

    def rounded(video: VideoTokens, text: Text) -> AnswerScores:
        scores = exact(video, text)
        return scores._replace(logprobs=scores.logprobs + 1e-3 * torch.arange(len(scores.logprobs)).unsqueeze(1))

    monkeypatch.setattr(model, "text_scores", rounded)
    words = ("red", "a very dark green", "blue", "it moves left and then it stops")
    first = [(row, Question("thing", "choice", "what is it?", "", words)) for row in range(3)]
    with torch.no_grad():
        scores = Chooser(model, at_once)(video, first)
        for order in permutations(range(4)):
            asked = [(row, replace(one, choices=tuple(one.choices[place] for place in order))) for row, one in first]
            found = Chooser(model, at_once)(video, asked)
            assert found == [
                {score: tuple(values[place] for place in order) for score, values in one.items()} for one in scores
            ]
            assert best(asked, found) == best(first, scores)


def test_equal_scores_are_decided_by_the_text_of_the_choice(
    model: VideoLanguageModel, video: VideoTokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    def equal(video: VideoTokens, text: Text) -> AnswerScores:
        return AnswerScores(torch.zeros(text.targets.shape), torch.zeros(text.targets.shape, dtype=torch.bool))

    monkeypatch.setattr(model, "text_scores", equal)
    for words in permutations(("red", "blue", "green")):
        asked = [(0, Question("thing", "choice", "what is it?", "", words))]
        assert choose(model, video, asked, sequences_at_once=9) == ["blue"]
        assert best(asked, Chooser(model, 9)(video, asked)) == [dict.fromkeys(SCORES, "blue")]


@pytest.mark.parametrize(
    ("text", "truth", "right"),
    [
        ("it moves left", "left", True),
        ("it moves left right up down", "left", False),
        ("it moves left then up", "left then up", True),
        ("it moves left then up then left", "left then up", False),
        ("a dark green ball", "green", False),
        ("a dark green ball", "dark green", True),
        ("two green balls, dark green ones", "dark green", False),
        ("nothing", "left", False),
    ],
)
def test_a_text_is_right_if_it_names_only_the_truth(text: str, truth: str, right: bool) -> None:
    others = ("left", "right", "up", "down", "left then up", "up then left", "green", "dark green")
    assert names_only(text, truth, others=others) is right


def test_a_clips_own_questions_are_those_with_choices() -> None:
    own = Clip(id="a", path=Path("a"), caption="a dog", questions=(OPEN, COLOUR, MOVES))
    assert questions_of(own, CAPTIONS) == [COLOUR, MOVES]


def test_clips_without_questions_get_a_question_about_their_captions() -> None:
    for questions in ((), (OPEN,)):
        clip = Clip(id="a", path=Path("a"), caption="a dog", questions=questions)
        (question,) = questions_of(clip, CAPTIONS)
        assert (question.category, question.kind, question.answer) == ("caption", "choice", "a dog")
        assert len(question.choices) == 4 == len(set(question.choices))
        assert "a dog" in question.choices
        assert set(question.choices) <= set(CAPTIONS)
        assert questions_of(clip, CAPTIONS[::-1]) == [question]


def test_wrong_captions_and_the_position_of_the_right_one_vary() -> None:
    captions = [f"caption {number:02d}" for number in range(20)]
    asked = [
        questions_of(Clip(id=str(number), path=Path("a"), caption=captions[number]), captions)[0]
        for number in range(20)
    ]
    assert len({question.choices.index(question.answer) for question in asked}) == 4
    drawn = {choice for question in asked for choice in question.choices if choice != question.answer}
    assert len(drawn) > 10


def test_without_another_caption_there_is_no_question() -> None:
    assert questions_of(Clip(id="a", path=Path("a"), caption="a dog"), ["a dog"]) == []
    assert questions_of(Clip(id="a", path=Path("a")), CAPTIONS) == []
    (question,) = questions_of(Clip(id="a", path=Path("a"), caption="a dog"), ["a cat"])
    assert question.choices == ("a cat", "a dog")


@pytest.mark.parametrize(
    ("text", "words", "place"),
    [
        ("a red circle moves left", "left", 19),
        ("left", "left", 0),
        ("two blue circles standing still", "circle", 9),
        ("two green crosses", "cross", 10),
        ("a crossing, then a cross", "cross", 19),
        ("a crossing", "cross", None),
        ("an across", "cross", None),
        ("it moves left then up", "left then up", 9),
        ("it moves up then left", "left then up", None),
        ("it is (red).", "red", 7),
        ("what?", "w.at", None),
    ],
)
def test_words_are_found_in_a_text(text: str, words: str, place: int | None) -> None:
    found = mention(text, words)
    assert (found.start() if found else None) == place
