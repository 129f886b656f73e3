"""Tiny models of transformers' own classes with a tokenizer, saved to a folder for the real code to load."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, PreTrainedConfig, PreTrainedTokenizerFast, Qwen2Config

from vtok.hub import toys

SPECIALS = (
    "<|begin|>", "<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>", "<|im_start|>", "<|im_end|>", "<s>", "</s>",
    "<|endoftext|>",
)  # fmt: skip
CHATML = (
    "{% if messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nYou help.<|im_end|>\n' }}{% endif %}"
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
LLAMA_2 = (
    "{% for message in messages %}{% if message['role'] == 'user' %}"
    "{{ bos_token + '[INST] ' + message['content'].strip() + ' [/INST]' }}"
    "{% else %}{{ ' ' + message['content'].strip() + ' ' + eos_token }}{% endif %}{% endfor %}"
)
# Qwen3's: only the last answer has a thought, which is empty if the prompt switches thinking off.
THINKING = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{% if message['role'] == 'assistant' and loop.last %}{{ '<think>\n\n</think>\n\n' }}{% endif %}"
    "{{ message['content'] + '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}"
    "{% if enable_thinking is defined and enable_thinking is false %}{{ '<think>\n\n</think>\n\n' }}{% endif %}"
    "{% endif %}"
)
# As in processors of vision-language models: a message's content is a list.
CONTENT_LIST = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{% for part in message['content'] | selectattr('type', 'equalto', 'text') %}{{ part['text'] }}{% endfor %}"
    "{{ '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
TEMPLATES = {
    "llama_3": (toys.LLAMA_3, "<|eot_id|>"),
    "chatml": (CHATML, "<|endoftext|>"),
    "llama_2": (LLAMA_2, "</s>"),
    "thinking": (THINKING, "<|im_end|>"),
    "content_list": (CONTENT_LIST, "<|im_end|>"),
}


def build_tokenizer(template: str) -> PreTrainedTokenizerFast:
    """A tokenizer with common words and the special tokens of the large models, without padding and video tokens."""
    text, end = TEMPLATES.get(template, (template, "<|im_end|>"))
    begin = "<s>" if template == "llama_2" else "<|begin|>"
    return toys.tokenizer(text, begin=begin, end=end, specials=SPECIALS)


@pytest.fixture
def make_tokenizer() -> Callable[[str], PreTrainedTokenizerFast]:
    """Builds a tokenizer from the name of a template above, or from a template."""
    return build_tokenizer


@pytest.fixture
def save_lm(tmp_path: Path) -> Callable[..., Path]:
    """Saves a tiny causal language model (a Qwen2 unless a config is given) with a tokenizer."""

    def save(config: PreTrainedConfig | None = None, *, template: str = "chatml") -> Path:
        torch.manual_seed(0)
        tokenizer = build_tokenizer(template)
        if config is None:
            config = Qwen2Config(tie_word_embeddings=True, **sizes(tokenizer))
        folder = tmp_path / "lm"
        AutoModelForCausalLM.from_config(config).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return folder

    return save


def sizes(tokenizer: PreTrainedTokenizerFast) -> dict[str, int]:
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "max_position_embeddings": 256,
    }


@pytest.fixture
def lm_sizes(make_tokenizer: Callable[[str], PreTrainedTokenizerFast]) -> dict[str, int]:
    """Config values of a tiny model for the tokenizers of `make_tokenizer`."""
    return sizes(make_tokenizer("chatml"))
