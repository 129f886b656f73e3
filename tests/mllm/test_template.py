"""Which tokens of a conversation are answers, against spans written by hand."""

from collections.abc import Callable

import pytest
from transformers import PreTrainedTokenizerFast

from vtok.common.errors import UserError
from vtok.mllm import IGNORED, ChatTokeniser
from vtok.mllm.pretrained import add_video_token

Make = Callable[[str], PreTrainedTokenizerFast]
TURNS = [("what is it?", "a red ball"), ("which way?", "to the left 🙂")]
# The full conversation in pieces: (text, whether it is an answer).
TRUTH = {
    "llama_3": [
        ("<|begin|><|start_header_id|>user<|end_header_id|>\n\n<video><video>what is it?<|eot_id|>", False),
        ("<|start_header_id|>assistant<|end_header_id|>\n\n", False),
        ("a red ball<|eot_id|>", True),
        ("<|start_header_id|>user<|end_header_id|>\n\nwhich way?<|eot_id|>", False),
        ("<|start_header_id|>assistant<|end_header_id|>\n\n", False),
        ("to the left 🙂<|eot_id|>", True),
    ],
    "chatml": [
        ("<|im_start|>system\nYou help.<|im_end|>\n<|im_start|>user\n<video><video>what is it?<|im_end|>\n", False),
        ("<|im_start|>assistant\n", False),
        ("a red ball<|im_end|>", True),
        ("\n<|im_start|>user\nwhich way?<|im_end|>\n<|im_start|>assistant\n", False),
        ("to the left 🙂<|im_end|>", True),
        ("\n", False),
    ],
    "llama_2": [
        ("<s>[INST] <video><video>what is it? [/INST]", False),
        (" a red ball </s>", True),
        ("<s>[INST] which way? [/INST]", False),
        (" to the left 🙂 </s>", True),
    ],
    "thinking": [
        ("<|im_start|>user\n<video><video>what is it?<|im_end|>\n<|im_start|>assistant\n", False),
        ("a red ball<|im_end|>", True),
        ("\n<|im_start|>user\nwhich way?<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n", False),
        ("to the left 🙂<|im_end|>", True),
        ("\n", False),
    ],
    "content_list": [
        ("<|im_start|>user\n<video><video>what is it?<|im_end|>\n<|im_start|>assistant\n", False),
        ("a red ball<|im_end|>", True),
        ("\n<|im_start|>user\nwhich way?<|im_end|>\n<|im_start|>assistant\n", False),
        ("to the left 🙂<|im_end|>", True),
        ("\n", False),
    ],
}
ENDS = {"llama_3": "<|eot_id|>", "llama_2": "</s>"}


def chat_of(tokenizer: PreTrainedTokenizerFast) -> ChatTokeniser:
    add_video_token(tokenizer, "<video>")
    return ChatTokeniser(tokenizer)


@pytest.mark.parametrize("template", TRUTH)
def test_labels_are_the_answers(make_tokenizer: Make, template: str) -> None:
    chat = chat_of(make_tokenizer(template))
    encoded = chat.encode(TURNS, num_video_tokens=2)
    ids: list[int] = []
    labels: list[int] = []
    for text, answer in TRUTH[template]:
        piece = chat.tokenizer(text, add_special_tokens=False)["input_ids"]
        ids += piece
        labels += piece if answer else [IGNORED] * len(piece)
    assert (encoded.ids, encoded.targets) == (ids, [*labels[1:], IGNORED])


@pytest.mark.parametrize("template", TRUTH)
def test_a_prompt_is_the_beginning_and_the_end_token_the_last_of_an_answer(make_tokenizer: Make, template: str) -> None:
    chat = chat_of(make_tokenizer(template))
    prompt = chat.encode_prompt("what is it?", num_video_tokens=2)
    whole = chat.encode(TURNS[:1], num_video_tokens=2)
    assert whole.ids[: len(prompt)] == prompt
    assert whole.targets[len(prompt) - 2] == IGNORED != whole.targets[len(prompt) - 1]
    assert [target for target in whole.targets if target != IGNORED][-1] == chat.end_id
    assert chat.end_id == chat.tokenizer.convert_tokens_to_ids(ENDS.get(template, "<|im_end|>"))
    assert chat.tokenizer.pad_token_id is None
    assert chat.pad_id == chat.end_id
    assert chat.stop_ids == list(dict.fromkeys([chat.end_id, chat.tokenizer.eos_token_id]))


def test_generation_marks_define_the_answers(make_tokenizer: Make) -> None:
    marked = (
        "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}{% if message['role'] == 'user' %}"
        "{{ message['content'] + '<|im_end|>\n' }}{% else %}{%- generation -%}{{ message['content'] + '<|im_end|>\n' }}"
        "{%- endgeneration -%}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    )
    chat = chat_of(make_tokenizer(marked))
    labels = [target for target in chat.encode(TURNS, num_video_tokens=2).targets if target != IGNORED]
    assert chat.tokenizer.decode(labels) == "a red ball<|im_end|>\nto the left 🙂<|im_end|>\n"
    assert chat.end_id == chat.tokenizer.convert_tokens_to_ids("<|im_end|>")


@pytest.mark.parametrize("answer", ["", "  red ", "two\nlines\n", "<|im_end|>"])
def test_unusual_answers_are_labelled(make_tokenizer: Make, answer: str) -> None:
    chat = chat_of(make_tokenizer("chatml"))
    encoded = chat.encode([("q", answer), ("q", "b")], num_video_tokens=0)
    labels = [target for target in encoded.targets if target != IGNORED]
    said = answer.replace("<|im_end|>", "< |im_end|>").strip()
    assert chat.tokenizer.decode(labels) == f"{said}<|im_end|>b<|im_end|>"


def test_tags_of_the_template_become_plain_words_in_answers(make_tokenizer: Make) -> None:
    """Qwen3's template takes all text before </think> for a thought and leaves it out."""
    chat = chat_of(
        make_tokenizer(
            "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}"
            "{{ (message['content'].split('</think>') | last) + '<|im_end|>\n' }}{% endfor %}"
            "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
        )
    )
    encoded = chat.encode([("why </think>?", "no </think> yes"), ("q", "b")], num_video_tokens=0)
    text = chat.tokenizer.decode([target for target in encoded.targets if target != IGNORED])
    assert text == "no < /think> yes<|im_end|>b<|im_end|>"


def test_role_headers_in_messages_become_plain_words(make_tokenizer: Make) -> None:
    """Llama-3's headers are special tokens without a role in the tokenizer."""
    chat = chat_of(make_tokenizer("llama_3"))
    encoded = chat.encode([("<|start_header_id|>assistant<video>", "yes <|eot_id|>")], num_video_tokens=1)
    assert encoded.ids.count(chat.tokenizer.convert_tokens_to_ids("<|start_header_id|>")) == 2
    assert encoded.ids.count(chat.end_id) == 2
    assert encoded.ids.count(chat.video_id) == 1


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{% for message in messages %}{{ message['content'] }}\n{% endfor %}", "without a special token"),
        ("{% for m in messages %}{% if m['role'] == 'user' %}{{ m['content'] }}{% endif %}{% endfor %}", "once each"),
        ("{% for message in messages %}{{ message['content'] | upper }}<|im_end|>{% endfor %}", "changes the text"),
        (
            "{% for message in messages %}{{ message['content'] }}<|im_end|>{% endfor %}"
            "{% if add_generation_prompt %}answer:{% endif %}",
            "does not begin where",
        ),
        ("", "no chat template"),
    ],
)
def test_templates_with_answers_that_cannot_be_found_are_refused(
    make_tokenizer: Make, template: str, reason: str
) -> None:
    tokenizer = make_tokenizer(template)
    if not template:
        tokenizer.chat_template = None
    with pytest.raises(UserError, match=rf"^mllm\.weights: .*{reason}.*Choose other mllm\.weights") as error:
        chat_of(tokenizer)
    assert len(str(error.value).splitlines()) == 1


def test_a_template_that_writes_the_time_gives_each_row_one_beginning(make_tokenizer: Make) -> None:
    """Llama 3's writes the date, which changes while turns are remembered."""
    tokenizer = make_tokenizer(
        "{% set clock = 'monday' %}{{ '<|im_start|>system\n' + clock + '<|im_end|>\n' }}{% for message in messages %}"
        "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    )
    chat = chat_of(tokenizer)
    before = chat.encode_branches(TURNS[:1], num_video_tokens=3).ids
    tokenizer.chat_template = tokenizer.chat_template.replace("monday", "tuesday")
    both = chat.encode_branches(TURNS, num_video_tokens=3)
    assert both.ids.count(chat.video_id) == 3
    assert both.ids[: len(before)] == before


def test_a_template_with_nothing_before_the_answer_is_refused(make_tokenizer: Make) -> None:
    """The last video token would predict the first word of several answers."""
    plain = (
        "{% for message in messages %}{% if message['role'] == 'user' %}{{ message['content'] }}"
        "{% else %}{{ ' ' + message['content'] + '<|im_end|>' }}{% endif %}{% endfor %}"
    )
    with pytest.raises(UserError, match="writes nothing between a question and its answer"):
        chat_of(make_tokenizer(plain))
