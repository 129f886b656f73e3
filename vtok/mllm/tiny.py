"""A small Llama, trained from scratch, for machines without weights or network."""

from typing import Annotated

from annotated_types import Ge
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from vtok.common.setting_types import Count, MultipleOfSetting
from vtok.mllm.base import LanguageModel
from vtok.mllm.chat import ChatTokeniser
from vtok.mllm.vocabulary import byte_level_bpe

USER, ASSISTANT, END, PAD, VIDEO = "<|user|>", "<|assistant|>", "<|end|>", "<|pad|>", "<video>"
TEMPLATE = (
    "{% for message in messages %}{% if message['role'] == 'user' %}"
    + USER
    + "{{ message['content'] }}"
    + "{% else %}"
    + ASSISTANT
    + "{% generation %}{{ message['content'] }}"
    + END
    + "{% endgeneration %}{% endif %}{% endfor %}{% if add_generation_prompt %}"
    + ASSISTANT
    + "{% endif %}"
)


class TinyLanguageModel(LanguageModel):
    """A Llama of a few layers with the interface of the large models.

    Args:
        width: width of the embeddings.
        layers: number of transformer layers.
        heads: number of attention heads; the width must be a multiple of twice this.
        context_length: number of video and text tokens in the longest sequence.
        standardise_video: standardise video tokens by their kind (spatial or motion) before phi_vis, to mean 0 and
            standard deviation 1 over training clips, so that no tokeniser learns sooner because of its scale.
    """

    def __init__(
        self,
        *,
        width: Annotated[int, Ge(1), MultipleOfSetting("heads", times=2)] = 128,
        layers: Count = 2,
        heads: Count = 4,
        context_length: Count = 1024,
        standardise_video: bool = True,
        encode_places: bool = False,
    ) -> None:
        tokenizer = byte_level_tokenizer()
        config = LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=width,
            intermediate_size=3 * width,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            max_position_embeddings=context_length,
            tie_word_embeddings=False,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
        super().__init__(
            LlamaForCausalLM(config),
            ChatTokeniser(tokenizer, video_token=VIDEO),
            standardise_video=standardise_video,
            encode_places=encode_places,
        )


def byte_level_tokenizer() -> PreTrainedTokenizerFast:
    """The vocabulary of the tiny model, with its chat template."""
    return PreTrainedTokenizerFast(
        tokenizer_object=byte_level_bpe([PAD, END, USER, ASSISTANT, VIDEO], add_prefix_space=True),
        pad_token=PAD,
        eos_token=END,
        additional_special_tokens=[USER, ASSISTANT, VIDEO],
        chat_template=TEMPLATE,
        clean_up_tokenization_spaces=False,
    )
