from copy import deepcopy

import pytest
import torch
from transformers import GenerationConfig

from vtok.common.errors import UserError
from vtok.mllm import IGNORED, EncodedChat, LanguageModel, TinyLanguageModel, VisualProjector
from vtok.mllm.base import find_predictors
from vtok.model.batch import stack_text


@pytest.fixture(scope="module")
def mllm() -> TinyLanguageModel:
    torch.manual_seed(0)
    return TinyLanguageModel(width=32, layers=2, heads=2).eval()


def test_video_tokens_are_embedded_at_the_places_of_the_video_token(mllm: TinyLanguageModel) -> None:
    chats = [mllm.chat.encode([("what?", "this")], num_video_tokens=number) for number in (3, 1)]
    text = stack_text(chats, pad_id=mllm.chat.pad_id)
    video = torch.randn(2, 3, 32)
    mask = torch.tensor([[True, True, True], [True, False, False]])
    embeddings = mllm.embed(text.ids, video, mask)
    torch.testing.assert_close(embeddings[0, 1:4], video[0])
    torch.testing.assert_close(embeddings[1, 1], video[1, 0])
    plain = mllm.model.get_input_embeddings()(text.ids)
    torch.testing.assert_close(embeddings[1, 2:], plain[1, 2:])
    with pytest.raises(RuntimeError, match="places"):
        mllm.embed(text.ids, video, torch.ones_like(mask))


def test_logprobs_and_hidden_states_are_those_of_transformers(mllm: TinyLanguageModel) -> None:
    ids = torch.randint(300, 900, (2, 11))
    labels = ids.masked_fill(torch.rand(2, 11) < 0.5, IGNORED)
    with torch.no_grad():
        output = mllm.model(input_ids=ids, labels=labels)
        embeddings = mllm.model.get_input_embeddings()(ids)
        labels[0, 4] = output.logits[0, 3].argmax()
        # transformers' labels are at the predicted tokens themselves, and the first of a row is not predicted.
        targets = torch.nn.functional.pad(labels[:, 1:], (0, 1), value=IGNORED)
        logprobs, likeliest = mllm.score_answers(mllm.hidden_states(embeddings), targets)
        output = mllm.model(input_ids=ids, labels=labels)
    torch.testing.assert_close(-logprobs.sum() / (targets != IGNORED).sum(), output.loss)
    assert (logprobs[targets == IGNORED] == 0).all()
    assert likeliest[0, 3]
    assert torch.equal(likeliest, output.logits.argmax(-1) == targets)


def test_predictors_are_the_places_of_targets() -> None:
    targets = torch.tensor([[7, IGNORED, 8, 9], [5, 6, IGNORED, IGNORED]])
    assert find_predictors(targets).tolist() == [0, 2, 3, 4, 5]


def test_the_states_of_a_layer_are_those_of_a_model_without_later_layers(mllm: TinyLanguageModel) -> None:
    """In transformers, `hidden_states[-2]` comes before the last layer and the final norm."""
    ids = torch.randint(300, 900, (2, 7))
    below = deepcopy(mllm.model.base_model)
    del below.layers[-1]
    below.config.num_hidden_layers = 1
    below.norm = torch.nn.Identity()
    with torch.no_grad():
        embeddings = mllm.model.get_input_embeddings()(ids)
        last, second, first = mllm.layer_states(embeddings, layers=(-1, -2, 0))
        torch.testing.assert_close(second, below(inputs_embeds=embeddings).last_hidden_state)
        torch.testing.assert_close(last, mllm.hidden_states(embeddings))
    assert torch.equal(first, embeddings)
    assert (last - second).abs().max() > 0.1


def test_padding_changes_nothing(mllm: TinyLanguageModel) -> None:
    questions = ("a", "a much longer question than that")
    chats = [mllm.chat.encode([(text, "yes")], num_video_tokens=0) for text in questions]
    with torch.no_grad():
        together = stack_text(chats, pad_id=mllm.chat.pad_id)
        embeddings = mllm.model.get_input_embeddings()(together.ids)
        scores = mllm.score_answers(mllm.hidden_states(embeddings), together.targets).logprobs.sum(1)
        for row, chat in enumerate(chats):
            alone = stack_text([chat], pad_id=mllm.chat.pad_id)
            embeddings = mllm.model.get_input_embeddings()(alone.ids)
            score = mllm.score_answers(mllm.hidden_states(embeddings), alone.targets).logprobs.sum(1)
            torch.testing.assert_close(scores[row : row + 1], score, atol=1e-5, rtol=1e-5)


def test_generation_is_greedy_and_the_same_alone_and_in_a_batch(mllm: TinyLanguageModel) -> None:
    questions = ("what?", "which way does the object move?")
    prompts = [mllm.chat.encode_prompt(text, num_video_tokens=0) for text in questions]

    def generate(rows: list[list[int]]) -> list[str]:
        text = stack_text([EncodedChat(row, row) for row in rows], pad_id=mllm.chat.pad_id, side="left")
        return mllm.generate(mllm.model.get_input_embeddings()(text.ids), text.mask, max_new_tokens=6)

    together = generate(prompts)
    assert together == [generate([prompt])[0] for prompt in prompts]
    assert together[1] == greedy(mllm, prompts[1])


@torch.no_grad()
def greedy(mllm: LanguageModel, prompt: list[int]) -> str:
    """Six greedy tokens, each by a full forward pass."""
    ids = list(prompt)
    for _ in range(6):
        ids.append(int(mllm.model(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
        if ids[-1] == mllm.chat.end_id:
            break
    return mllm.chat.decode(ids[len(prompt) :])


def test_the_generation_config_of_a_model_does_not_change_greedy_answers() -> None:
    """Published models have repetition penalties and temperatures."""
    torch.manual_seed(0)
    tiny = TinyLanguageModel(width=32, layers=1, heads=2)
    # The greedy answer repeats one word, which a penalty would prevent.
    with torch.no_grad():
        tiny.model.lm_head.weight[600:602] *= 20
    tiny.model.generation_config = GenerationConfig(repetition_penalty=9.0, no_repeat_ngram_size=1, min_new_tokens=3)
    mllm = LanguageModel(tiny.model, tiny.chat).eval()
    ids = mllm.chat.encode_prompt("what?", num_video_tokens=0)
    embeddings = mllm.model.get_input_embeddings()(torch.tensor([ids]))
    written = mllm.generate(embeddings, torch.ones(1, len(ids), dtype=torch.bool), max_new_tokens=6)
    assert written == [greedy(mllm, ids)]


def test_nan_logits_are_refused() -> None:
    mllm = TinyLanguageModel(width=32, layers=1, heads=2).eval()
    with torch.no_grad():
        mllm.model.lm_head.weight[0, 0] = float("nan")
    with pytest.raises(UserError, match=r"logits are not finite .*run=RUN/checkpoints"):
        mllm.generate(torch.zeros(1, 3, 32), torch.ones(1, 3, dtype=torch.bool), max_new_tokens=2)


def test_projector_is_two_layers_with_a_gelu() -> None:
    projector = VisualProjector(token_dim=5, width=7)
    x = torch.randn(2, 3, 5)
    expected = projector[2](torch.nn.functional.gelu(projector[0](x)))
    torch.testing.assert_close(projector(x), expected)


TURNS = [
    ("which way does it move?", "left"),
    ("what colour?", "a dark green"),
    ("which way does it look?", "up"),
    ("what colour?", "a dark red"),
    ("describe the video.", "it moves"),
]


def path(turn: list[int], seen_until: list[int], number: int) -> list[int]:
    """The places of the tokens that the last token of a turn sees."""
    last = max(place for place, one in enumerate(turn) if one == number)
    return [place for place in range(last + 1) if last < seen_until[place]]


@pytest.mark.parametrize("video_tokens", [0, 1, 4])
def test_branches_are_the_turns_with_their_common_beginnings_once(mllm: TinyLanguageModel, video_tokens: int) -> None:
    chat = mllm.chat.encode_branches(TURNS, num_video_tokens=video_tokens)
    assert chat.turn is not None
    assert chat.seen_until is not None
    alone = [mllm.chat.encode([turn], num_video_tokens=video_tokens) for turn in TURNS]
    for number, one in enumerate(alone, start=1):
        here = path(chat.turn, chat.seen_until, number)
        # The end of an answer is predicted, but not read.
        assert [chat.ids[place] for place in here] == one.ids[:-1]
        assert [chat.targets[place] for place in here] == one.targets[:-1]
        assert {chat.turn[place] for place in here if chat.targets[place] != IGNORED} == {number}
    # Once: the turn's start and the video, "which way does it" with the video, and "what colour?" up to its answer.
    way, colour = (
        len(mllm.chat.encode_prompt(text, num_video_tokens=0)) - 2 for text in ("which way does it", "what colour?")
    )
    shared = 4 * (1 + video_tokens) + way + colour
    assert len(chat.ids) == sum(len(one.ids) - 1 for one in alone) - shared
    assert chat.length == max(len(one.ids) - 1 for one in alone)


def test_rows_of_one_branch_need_no_mask(mllm: TinyLanguageModel) -> None:
    one, more = (mllm.chat.encode_branches(turns, num_video_tokens=4) for turns in (TURNS[:1], TURNS))
    assert stack_text([one, one], pad_id=0).seen_until is None
    assert stack_text([one, more], pad_id=0).seen_until is not None


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_a_branch_is_read_as_if_it_were_alone(mllm: TinyLanguageModel, attention: str) -> None:
    mllm = deepcopy(mllm)
    mllm.model.set_attn_implementation(attention)
    chats = [mllm.chat.encode_branches(turns, num_video_tokens=4) for turns in (TURNS, TURNS[:1])]
    together = stack_text(chats, pad_id=mllm.chat.pad_id)
    video, there = torch.randn(2, 4, 32), torch.ones(2, 4, dtype=torch.bool)
    with torch.no_grad():
        states = mllm.hidden_states(mllm.embed(together.ids, video, there), seen_until=together.seen_until)
        assert states.isfinite().all()
        for row, turns in enumerate((TURNS, TURNS[:1])):
            for number, turn in enumerate(turns, start=1):
                alone = torch.tensor([mllm.chat.encode([turn], num_video_tokens=4).ids[:-1]])
                expected = mllm.hidden_states(mllm.embed(alone, video[row : row + 1], there[:1]))
                found = states[row, path(together.turn[row].tolist(), together.seen_until[row].tolist(), number)]
                torch.testing.assert_close(found, expected[0], atol=1e-5, rtol=1e-5)
