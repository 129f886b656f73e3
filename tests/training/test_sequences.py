from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from vtok.backbone import TinyBackbone
from vtok.common.errors import UserError
from vtok.data import Clip, ClipSample, Question
from vtok.data.plan import StridePlanner
from vtok.decoder import NoDecoder
from vtok.mllm import ChatTokeniser, TinyLanguageModel
from vtok.mllm.tiny import byte_level_tokenizer
from vtok.model import Objective, VideoLanguageModel
from vtok.model.batch import Batch, stack_frames
from vtok.model.video_language_model import DESCRIBE
from vtok.tokeniser import VTokTokeniser
from vtok.training.sequences import Collate, training_turns
from vtok.visual_head import NoVisualHead

CHOICES = tuple(Question("c", "choice", f"q{number}?", f"a{number}", ("x", "y")) for number in range(3))
YES_NO = tuple(Question("c", "yes_no", f"is it {number}?", "yes", ("yes", "no")) for number in range(3))
UNDERSTANDING = Objective(lambda_under=1.0, lambda_visLM=0.0, lambda_dec=0.0)
CLIP = Clip("clip", Path("clip.mp4"), "a caption", CHOICES + YES_NO)


def many(clip: Clip, *, questions: int | None = None, yes_no_share: float = 1.0) -> list[list[tuple[str, str]]]:
    return [
        training_turns(clip, rng=np.random.default_rng(seed), questions=questions, yes_no_share=yes_no_share)
        for seed in range(1000)
    ]


def test_questions_have_a_random_order_and_a_limited_number() -> None:
    assert {len(turn) for turn in many(CLIP, questions=2)} == {3}
    asked = {turn[0][0] for turn in many(CLIP, questions=2)}
    assert asked == {question.text for question in CLIP.questions}


def test_yes_or_no_questions_without_others_are_always_asked() -> None:
    only = Clip("clip", Path("clip.mp4"), None, YES_NO)
    assert all(len(turn) == 3 for turn in many(only, yes_no_share=0.0))


def test_turns_are_all_questions_a_share_of_the_claims_and_the_caption() -> None:
    other = Question("d", "yes_no", "other?", "no", ("yes", "no"))
    clip = Clip("clip", Path("clip.mp4"), "a caption", (*CHOICES, *YES_NO, other))
    turns = many(clip, yes_no_share=0.5)
    assert all(turn[-1] == (DESCRIBE, "a caption") for turn in turns)
    asked = [{text for text, _ in turn[:-1]} for turn in turns]
    assert all(texts >= {"q0?", "q1?", "q2?", "other?"} for texts in asked)
    claims = [len(texts & {one.text for one in YES_NO}) for texts in asked]
    assert set(claims) == {0, 1, 2, 3}
    assert abs(sum(claims) / 1000 - 1.5) < 0.1


def sample(frames: int, name: str, epoch: int = 0) -> ClipSample:
    clip = Clip(name, Path(f"{name}.mp4"), "a caption", CHOICES + YES_NO)
    bad = (("broken.mp4", "it is empty"),) if name == "b" else ()
    pixels = torch.full((frames, 3, 8, 8), 7, dtype=torch.uint8)
    return ClipSample(pixels, torch.arange(float(frames)), 0, clip, epoch, bad)


def test_a_batch_has_a_place_for_every_video_token() -> None:
    chat = ChatTokeniser(byte_level_tokenizer())
    planner = StridePlanner(6)
    batch = Collate(chat, planner, 1024, None, 1.0, 0, UNDERSTANDING)([sample(5, "a"), sample(2, "b")])
    assert not isinstance(batch, UserError)
    assert (batch.text.ids == chat.video_id).sum(1).tolist() == [planner.num_tokens(5), planner.num_tokens(2)]
    assert batch.video.mask.tolist() == [[True] * 5, [True] * 2 + [False] * 3]
    assert batch.video.frames[1, 2:].sum() == 0
    assert batch.bad == (("broken.mp4", "it is empty"),)
    assert (batch.text.mask.sum(1) > 20).all()


def test_each_question_is_a_row_about_its_clip() -> None:
    chat = ChatTokeniser(byte_level_tokenizer())
    collate = Collate(chat, StridePlanner(6), 1024, None, 1.0, 0, UNDERSTANDING, row_per_turn=True)
    samples = [sample(5, "a"), sample(2, "b")]
    batch = collate(samples)
    assert not isinstance(batch, UserError)
    # Three questions, three claims and a caption.
    assert batch.clip_of_row.tolist() == [0] * 7 + [1] * 7
    for row, (question, answer) in enumerate(turn for one in samples for turn in collate.turns(one)):
        ids = batch.text.ids[row][batch.text.mask[row]].tolist()
        alone = chat.encode([(question, answer)], num_video_tokens=collate.planner.num_tokens((5, 2)[row // 7]))
        # The end of an answer is not read.
        assert ids == alone.ids[:-1]


def test_branches_have_the_loss_and_the_gradients_of_rows() -> None:
    torch.manual_seed(0)
    model = VideoLanguageModel(
        tokeniser=VTokTokeniser(TinyBackbone(feature_dim=16, width=8), grid_size=2, stride=2),
        mllm=TinyLanguageModel(width=32, layers=2, heads=2),
        visual_head=NoVisualHead,
        decoder=NoDecoder,
        objective=UNDERSTANDING,
    ).eval()
    found = []
    for rows in (False, True):
        collate = Collate(
            model.mllm.chat, model.tokeniser.planner, 1024, None, 1.0, 0, UNDERSTANDING, row_per_turn=rows
        )
        batch = collate([sample(5, "a"), sample(2, "b")])
        assert isinstance(batch, Batch)
        assert (batch.clip_of_row is None) != rows
        model.zero_grad()
        losses = model(batch)
        losses["loss"].backward()
        gradients = {name: one.grad for name, one in model.named_parameters() if one.grad is not None}
        found.append(({name: one.detach() for name, one in losses.items()}, gradients, batch.counts()))
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-6)


def test_a_batch_depends_on_seed_epoch_and_clip_alone() -> None:
    chat = ChatTokeniser(byte_level_tokenizer())

    def ids(seed: int, epoch: int, other: str) -> list[int]:
        batch = Collate(chat, StridePlanner(6), 1024, None, 0.5, seed, UNDERSTANDING)(
            [sample(2, other), sample(5, "a", epoch)]
        )
        assert not isinstance(batch, UserError)
        return batch.text.ids[1, batch.text.mask[1]].tolist()

    assert ids(0, 0, "b") == ids(0, 0, "c")
    assert len({tuple(ids(seed, epoch, "b")) for seed in range(6) for epoch in range(6)}) > 7


def test_collate_returns_the_error_of_a_sample() -> None:
    error = UserError("all clips are broken")
    collate = Collate(ChatTokeniser(byte_level_tokenizer()), StridePlanner(6), 1024, None, 1.0, 0, UNDERSTANDING)
    assert collate([sample(2, "a"), error]) is error


def test_stacking_keeps_frames_bytes() -> None:
    assert stack_frames([sample(2, "a")]).frames.dtype == torch.uint8


def test_each_turn_fits_the_context_or_the_clip_is_refused() -> None:
    chat = ChatTokeniser(byte_level_tokenizer())

    def length(context: int) -> int | UserError:
        batch = Collate(chat, StridePlanner(6), context, None, 0.0, 0, UNDERSTANDING)([sample(5, "a")])
        return batch if isinstance(batch, UserError) else batch.text.ids.shape[1]

    tokens = StridePlanner(6).num_tokens(5)
    # The end of an answer is not read.
    longest = max(len(chat.encode([turn], num_video_tokens=tokens).ids) - 1 for turn in many(CLIP)[0])
    row = length(1024)
    assert isinstance(row, int)
    assert row > longest
    assert length(longest) == row
    refused = length(longest - 1)
    assert isinstance(refused, UserError)
    assert f"mllm.context_length={longest - 1}" in str(refused)


def test_a_clip_without_texts_is_refused_only_by_the_understanding_branch() -> None:
    silent = replace(sample(5, "a"), clip=Clip("a", Path("a.mp4")))
    chat, planner = ChatTokeniser(byte_level_tokenizer()), StridePlanner(6)
    reason = Collate(chat, planner, 1024, None, 1.0, 0, UNDERSTANDING).text_error(silent)
    assert reason == "it has neither a caption nor a question. Add one of them"
    generating = Objective(lambda_under=0.0, lambda_visLM=1.0)
    assert Collate(chat, planner, 1024, None, 1.0, 0, generating).text_error(silent) is None


def test_short_texts_are_accepted_without_encoding(monkeypatch: pytest.MonkeyPatch) -> None:
    chat = ChatTokeniser(byte_level_tokenizer())
    both = Objective(lambda_visLM=1.0)
    collate = Collate(chat, StridePlanner(6), 1024, None, 1.0, 0, both)
    long = replace(sample(5, "a"), clip=Clip("a", Path("a.mp4"), "zebra " * 400, ()))
    assert "Shorten the text" in (collate.text_error(long) or "")
    monkeypatch.setattr(chat, "encode_branches", None)
    monkeypatch.setattr(chat, "encode_video", None)
    assert collate.text_error(sample(5, "a")) is None
    with pytest.raises(TypeError):
        collate.text_error(long)
