"""Tokens that depend on the question: which words are read, that no answer is, and that a clip is encoded once."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from vtok.backbone import TinyBackbone
from vtok.data import Clip, ClipSample, Question
from vtok.decoder import NoDecoder
from vtok.evaluation.choice import Chooser
from vtok.evaluation.explain import explain_answer
from vtok.mllm import EncodedChat, TinyLanguageModel
from vtok.model import Objective, VideoLanguageModel
from vtok.model.batch import Batch, stack_frames, stack_prompts, stack_text
from vtok.tokeniser import LlamaVidTokeniser, VideoTokens
from vtok.training.sequences import make_collate
from vtok.visual_head import NoVisualHead

COLOUR, WAY = "what colour is it?", "which way does it go?"


@pytest.fixture
def model() -> VideoLanguageModel:
    torch.manual_seed(0)
    made = VideoLanguageModel(
        tokeniser=LlamaVidTokeniser(TinyBackbone(feature_dim=16, width=8), stride=3, token_dim=12),
        mllm=TinyLanguageModel(width=32, layers=2, heads=2),
        visual_head=NoVisualHead,
        decoder=NoDecoder,
        objective=Objective(lambda_visLM=0.0, lambda_dec=0.0),
    )
    with torch.no_grad():
        # The answers of a new language model hardly depend on the video, and its words on each other.
        for parameter in made.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return made.eval()


def sample(name: str, frames: int, **answers: str) -> ClipSample:
    """A clip of noise with the questions COLOUR and WAY, and a caption."""
    noise = torch.Generator().manual_seed(len(name))
    asked = [("colour", COLOUR), ("way", WAY)]
    questions = tuple(
        Question(category, "choice", text, answers.get(category, "red"), ("red", "left", "a dark green"))
        for category, text in asked
    )
    clip = Clip(name, Path(f"{name}.mp4"), answers.get("caption", "a red ball"), questions)
    pixels = torch.randint(256, (frames, 3, 64, 64), dtype=torch.uint8, generator=noise)
    return ClipSample(pixels, torch.arange(float(frames)), 0, clip, 0, ())


def batch_of(model: VideoLanguageModel, *samples: ClipSample) -> Batch:
    batch = make_collate(model, questions_per_clip=None, yes_no_share=0.0, seed=0)(samples)
    assert isinstance(batch, Batch)
    return batch


def tokens_in(model: VideoLanguageModel, batch: Batch) -> VideoTokens:
    """The video tokens that the language model is given, row by row."""
    assert batch.clip_of_row is not None
    assert batch.text is not None
    selected = model.tokeniser.encode_planned(batch.video).select(batch.clip_of_row)
    conditioned = model.condition(selected, batch.text)
    (read,) = read_by(model, lambda: model(batch))
    torch.testing.assert_close(read, model.input_scale.standardise(conditioned.tokens, conditioned.kind))
    return conditioned


def read_by(model: VideoLanguageModel, run: Callable[[], object]) -> list[Tensor]:
    """The standardised video tokens that the language model reads while `run` runs."""
    given: list[Tensor] = []
    handle = model.projector.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0]))
    with torch.no_grad():
        run()
    handle.remove()
    return given


# In this epoch every clip is asked for more than its caption.
NAMES = ("a", "bb", "cccc")


def test_a_turn_is_a_row_and_a_clip_is_encoded_once(model: VideoLanguageModel) -> None:
    collate = make_collate(model, questions_per_clip=None, yes_no_share=0.0, seed=0)
    samples = [sample(name, frames) for name, frames in zip(NAMES, (4, 10, 1), strict=True)]
    turns = [collate.turns(one) for one in samples]
    batch = batch_of(model, *samples)
    assert batch.clip_of_row is not None
    assert batch.text is not None
    assert batch.clip_of_row.tolist() == [row for row, own in enumerate(turns) for _ in own]
    assert max(len(own) for own in turns) == 3
    chat, words = model.mllm.chat, batch.text.question(model.mllm.chat.video_id)
    for row, (question, answer) in enumerate(turn for own in turns for turn in own):
        ids = batch.text.ids[row]
        read = chat.decode(ids[words[row]].tolist())
        assert question in read
        assert answer not in read
        targets = batch.text.targets[row]
        assert chat.decode(targets[targets != -100].tolist()) == answer
    frames: list[int] = []
    model.tokeniser.backbone.register_forward_hook(lambda module, given, made: frames.append(len(given[0])))
    model(batch)["loss"].backward()
    assert sum(frames) == 3 * 10
    assert [name for name, one in model.named_parameters() if one.grad is None] == []


def test_no_answer_changes_a_video_token(model: VideoLanguageModel) -> None:
    plain = [sample(name, 4) for name in NAMES]
    others = [sample(name, 4, colour="a very dark green", way="l", caption="some other words") for name in NAMES]
    expected, found = (tokens_in(model, batch_of(model, *samples)) for samples in (plain, others))
    # Rows of other lengths are padded otherwise, which changes rounding.
    torch.testing.assert_close(found.tokens, expected.tokens, rtol=0, atol=1e-5)


def test_another_question_changes_the_context_tokens_alone(model: VideoLanguageModel) -> None:
    batch = batch_of(model, *[sample(name, 4) for name in NAMES])
    found = tokens_in(model, batch)
    assert batch.clip_of_row is not None
    rows = (batch.clip_of_row == batch.clip_of_row.mode().values).nonzero().flatten()
    first, second = found.tokens[rows[0]], found.tokens[rows[1]]
    changed = (first - second).abs().amax(1) > 1e-4
    assert changed.tolist() == [True, False] * 4
    torch.testing.assert_close(first[1::2], second[1::2], rtol=0, atol=0)


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_is_no_word(side: str, model: VideoLanguageModel) -> None:
    chat, encoded = model.mllm.chat, model.tokeniser.encode(torch.rand(2, 10, 3, 64, 64))
    prompts = [chat.encode_prompt(question, num_video_tokens=8) for question in (COLOUR, 3 * WAY)]
    chats = [EncodedChat(ids, [-100] * len(ids)) for ids in prompts]
    together = model.condition(encoded, stack_text(chats, pad_id=chat.video_id if side == "left" else 0, side=side))
    for row, one in enumerate(chats):
        alone = model.condition(encoded.select(torch.tensor([row])), stack_text([one], pad_id=0))
        torch.testing.assert_close(together.tokens[row], alone.tokens[0])


@torch.no_grad()
def test_prompts_choices_and_training_read_the_same_question(model: VideoLanguageModel) -> None:
    chat, frames = model.mllm.chat, stack_frames([sample("a", 4), sample("bb", 4)])
    both = model.tokeniser.encode_planned(frames)
    prompts = stack_prompts(chat, [COLOUR, WAY], numbers=[8, 8])
    asked = stack_text([chat.encode([(one, "left")], num_video_tokens=8) for one in (COLOUR, WAY)], pad_id=chat.pad_id)
    conditioned = model.condition(both, prompts)
    torch.testing.assert_close(conditioned.tokens, model.condition(both, asked).tokens)
    (read,) = read_by(model, lambda: model.describe(frames, [COLOUR, WAY], max_new_tokens=1))
    torch.testing.assert_close(read, model.input_scale.standardise(conditioned.tokens, conditioned.kind))
    # Answers in a batch are those of a clip alone.
    questions = {text: replace(sample("a", 4).clip.questions[0], text=text) for text in (COLOUR, WAY)}
    chooser = Chooser(model, 5, scores=("token", "prior"))
    scores = chooser(both, [(0, questions[COLOUR]), (1, questions[WAY]), (1, questions[COLOUR])])
    answers = model.answer(both.select(torch.tensor([0, 1, 1])), [COLOUR, WAY, COLOUR], max_new_tokens=8)
    for number, (name, text) in enumerate((("a", COLOUR), ("bb", WAY), ("bb", COLOUR))):
        alone = stack_frames([sample(name, 4)])
        assert model.describe(alone, [text], max_new_tokens=8) == [answers[number]]
        single = model.tokeniser.encode_planned(alone)
        for choice, score in zip(questions[text].choices, scores[number]["token"], strict=True):
            chats = [chat.encode([(text, choice)], num_video_tokens=8)]
            own = stack_text(chats, pad_id=chat.pad_id)
            total = float(model.text_scores(single, own).logprobs.sum())
            assert score == pytest.approx(total / int((own.targets != -100).sum()), abs=1e-4)
            assert explain_answer(model, single, text, choice).log_likelihood == pytest.approx(total, abs=1e-4)
    assert scores[1] != scores[2]
