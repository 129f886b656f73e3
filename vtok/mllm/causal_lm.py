"""Any decoder-only language model of transformers: Qwen, Llama, SmolLM and the like."""

from functools import partial
from pathlib import Path

from vtok.common.pretrained import dtype_of, load
from vtok.common.setting_types import Count, Dtype
from vtok.mllm.base import LanguageModel
from vtok.mllm.chat import ChatTokeniser
from vtok.mllm.lora import Lora
from vtok.mllm.pretrained import KIND, add_video_token, check_logits, read_causal_lm, replace_padding_without_embedding

WEIGHTS = "HuggingFaceTB/SmolLM2-360M-Instruct"
WAY_OUT = (
    "Set mllm.weights=PATH to a local folder that holds a language model and its tokenizer (config.json, "
    "model.safetensors and tokenizer.json as `save_pretrained` writes them), or mllm=tiny for one that needs no files."
)


class CausalLanguageModel(LanguageModel):
    """A pretrained causal language model with its own tokenizer and chat template.

    Args:
        weights: hub id or local folder of a model with its tokenizer. A hub id is looked up in the local cache first.
        revision: branch, tag or commit on the hub.
        dtype: number format of the weights. Weights that are trained must be float32.
        video_token: text that stands for one video token; added to the vocabulary if it is missing.
        frozen: whether none of its weights are trained; gradients still reach the video tokens.
        gradient_checkpointing: recompute activations in the backward pass: less memory, more time.
        lora: adapters to train instead of the weights: `Lora` or a mapping of its attributes.
        standardise_video: standardise video tokens by their kind (spatial or motion) before phi_vis, to mean 0 and
            standard deviation 1 over training clips, so that no tokeniser learns sooner because of its scale.

    Raises:
        UserError: the model cannot be loaded, has no chat template or does not run on embeddings, or an argument is
            out of range.
    """

    def __init__(
        self,
        weights: str | Path = WEIGHTS,
        *,
        revision: str | None = None,
        dtype: Dtype = "float32",
        context_length: Count | None = None,
        video_token: str = "<video>",
        frozen: bool = False,
        gradient_checkpointing: bool = False,
        lora: Lora | None = None,
        standardise_video: bool = True,
        encode_places: bool = False,
    ) -> None:
        adapters = Lora.of(lora)
        model, tokenizer = load(
            str(weights),
            partial(read_causal_lm, dtype=dtype_of(dtype, key="mllm.dtype"), dropout=not frozen and adapters is None),
            key="mllm.weights",
            kind=f"{KIND} with its tokenizer",
            way_out=WAY_OUT,
            revision=revision,
        )
        add_video_token(tokenizer, video_token)
        replace_padding_without_embedding(tokenizer, model)
        super().__init__(
            model,
            ChatTokeniser(tokenizer, video_token=video_token),
            context_length=context_length,
            frozen=frozen,
            gradient_checkpointing=gradient_checkpointing,
            lora=adapters,
            standardise_video=standardise_video,
            encode_places=encode_places,
        )
        check_logits(self, str(weights))
