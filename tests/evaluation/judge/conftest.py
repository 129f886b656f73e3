"""A tiny LLaVA in a folder, as transformers itself saves it, and a machine without a network."""

import shutil
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

# The image processors with other names need torchvision.
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

WORDS = ["answer", "red", "green", "blue", "left", "right", "up", "down", "what", "colour", "is", "it", "which", "way"]
SPECIAL = ["<pad>", "<unk>", "<end>", "<image>"]
TEMPLATE = (
    "{% for message in messages %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endfor %}{% if add_generation_prompt %} answer{% endif %}"
)
TEXT = {
    "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
    "initializer_range": 0.7, "eos_token_id": 2, "pad_token_id": 0, "bos_token_id": None,
}  # fmt: skip
VISION = {
    "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
    "image_size": 16, "patch_size": 8, "initializer_factor": 8.0,
}  # fmt: skip


def word_tokenizer() -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.WordLevel({word: n for n, word in enumerate([*SPECIAL, *WORDS])}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        unk_token="<unk>",
        eos_token="<end>",
        additional_special_tokens=["<image>"],
    )


@pytest.fixture(scope="session")
def vlm_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """LLaVA with a CLIP of 16 x 16 pixels, 4 tokens an image, and a Llama that knows the words of the questions."""
    path, tokenizer = tmp_path_factory.mktemp("vlm"), word_tokenizer()
    torch.manual_seed(3)
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**VISION),
        text_config=LlamaConfig(vocab_size=len(tokenizer), **TEXT),
        image_token_id=SPECIAL.index("<image>"),
        vision_feature_layer=-1,
    )
    vlm = LlavaForConditionalGeneration(config)
    # Published models have such settings; the judge must ignore them and answer greedily.
    vlm.generation_config.repetition_penalty = 9.0
    vlm.generation_config.no_repeat_ngram_size = 1
    vlm.save_pretrained(path)
    images = CLIPImageProcessorPil(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16})
    processor = LlavaProcessor(
        images,
        tokenizer,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=TEMPLATE,
    )
    processor.save_pretrained(path)
    return path


@pytest.fixture
def own_vlm_folder(vlm_folder: Path, tmp_path: Path) -> Path:
    """A copy of `vlm_folder`, to be broken."""
    return Path(shutil.copytree(vlm_folder, tmp_path / "vlm"))
