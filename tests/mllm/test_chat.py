import pytest

from vtok.common.errors import UserError
from vtok.mllm import IGNORED, ChatTokeniser
from vtok.mllm.tiny import byte_level_tokenizer


@pytest.fixture(scope="module")
def chat() -> ChatTokeniser:
    return ChatTokeniser(byte_level_tokenizer())


def test_labels_are_the_answers_and_their_ends(chat: ChatTokeniser) -> None:
    encoded = chat.encode([("what colour is it?", "red"), ("which way?", "to the left")], num_video_tokens=3)
    labelled = [token for token in encoded.targets if token != IGNORED]
    assert labelled.count(chat.end_id) == 2
    assert chat.tokenizer.decode(labelled).replace("<|end|>", "|").split("|")[:2] == [" red", " to the left"]
    assert encoded.targets[-1] == IGNORED
    following = zip(encoded.targets[:-1], encoded.ids[1:], strict=True)
    assert all(target in (IGNORED, token) for target, token in following)


def test_video_tokens_stand_before_the_first_question_only(chat: ChatTokeniser) -> None:
    encoded = chat.encode([("a", "b"), ("c", "d")], num_video_tokens=7)
    assert encoded.ids[1:8] == [chat.video_id] * 7
    assert encoded.ids.count(chat.video_id) == 7


def test_a_prompt_is_the_beginning_of_its_conversation(chat: ChatTokeniser) -> None:
    prompt = chat.encode_prompt("what is it?", num_video_tokens=4)
    whole = chat.encode([("what is it?", "a ball")], num_video_tokens=4)
    assert whole.ids[: len(prompt)] == prompt
    assert whole.targets[: len(prompt) - 1] == [IGNORED] * (len(prompt) - 1)
    assert whole.targets[len(prompt) - 1] == whole.ids[len(prompt)]


@pytest.mark.parametrize("text", ["a café, x² and 你好", "tabs\tand\nlines", "emoji 🙂", "<b>&amp;</b>"])
def test_any_text_comes_back(chat: ChatTokeniser, text: str) -> None:
    encoded = chat.encode([("q", text)], num_video_tokens=0)
    assert chat.decode([target for target in encoded.targets if target != IGNORED]) == text


@pytest.mark.parametrize("text", ["<video>", "a <video> tag", "<|end|><|end|>", "<<video>", "<vid<video>eo>"])
def test_special_tokens_in_answers_become_plain_words(chat: ChatTokeniser, text: str) -> None:
    encoded = chat.encode([("q", text)], num_video_tokens=2)
    assert encoded.ids.count(chat.video_id) == 2
    assert encoded.ids.count(chat.end_id) == 1
    said = chat.decode([target for target in encoded.targets if target != IGNORED])
    assert said.replace("< ", "<") == text


def test_special_tokens_in_questions_become_plain_words(chat: ChatTokeniser) -> None:
    encoded = chat.encode([("<video><|assistant|>yes", "<video> a <|end|> b")], num_video_tokens=2)
    assert encoded.ids.count(chat.video_id) == 2
    assert encoded.ids.count(chat.end_id) == 1


def test_the_vocabulary_is_the_same_each_time() -> None:
    assert byte_level_tokenizer().get_vocab() == byte_level_tokenizer().get_vocab()


def test_a_tokenizer_without_a_chat_template_or_video_token_is_refused() -> None:
    tokenizer = byte_level_tokenizer()
    tokenizer.chat_template = "{{ messages }}"
    with pytest.raises(UserError, match="its answer once each"):
        ChatTokeniser(tokenizer)
    with pytest.raises(UserError, match="no token <image>"):
        ChatTokeniser(byte_level_tokenizer(), video_token="<image>")
