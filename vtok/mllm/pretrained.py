"""Pretrained language models and their tokenizers, as transformers loads them."""

import os
from typing import Any, cast

import torch
from tokenizers import AddedToken
from torch import Tensor
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from vtok.common.errors import UserError
from vtok.common.pretrained import (
    UNREADABLE,
    Place,
    first_line,
    only_shapes,
    read_config,
    read_model,
    refuse_missing,
)
from vtok.mllm.base import LanguageModel

KIND = "decoder-only language model"


def read_causal_lm(
    place: Place, *, dtype: torch.dtype, dropout: bool
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The language model and its tokenizer. `dropout`: whether the model keeps its own dropout.

    Raises:
        ValueError, OSError: a file is missing, or the model is not a language model.
    """
    config = read_config(place)
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise ValueError(f"its model_type is {config.model_type}")
    if not dropout:
        without_dropout(config)
    if only_shapes():
        shapes: Any = AutoModelForCausalLM.from_config(config, dtype=dtype, trust_remote_code=False)
        return shapes, read_tokenizer(place)
    model, missing = read_model(AutoModelForCausalLM, place, dtype=dtype, config=config)
    refuse_missing(missing, KIND)
    return model, read_tokenizer(place)


def read_tokenizer(place: Place) -> PreTrainedTokenizerBase:
    """The tokenizer beside the model.

    Raises:
        OSError: the files of the tokenizer are missing.
        ValueError: they cannot be read.
    """
    names = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt")
    if os.path.isdir(place.name) and not any(os.path.isfile(os.path.join(place.name, name)) for name in names):
        raise OSError("it has no tokenizer.json")
    tokenizer: Any = AutoTokenizer.from_pretrained(
        place.name, revision=place.revision, local_files_only=place.offline, trust_remote_code=False
    )
    return tokenizer


def without_dropout(config: Any) -> None:
    """Set all dropout rates to 0: a frozen model must not draw random numbers, even with layers in training mode."""
    for key, value in config.to_dict().items():
        if "drop" in key and isinstance(value, float):
            setattr(config, key, 0.0)


def add_video_token(tokenizer: PreTrainedTokenizerBase, video_token: str) -> None:
    """Add the video token as a special token, unless the tokenizer has it."""
    tokenizer.add_tokens([AddedToken(video_token, special=True, normalized=False)], special_tokens=True)


def replace_padding_without_embedding(tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel) -> None:
    """Pad with the end token if the padding token has no row in the embeddings."""
    rows = cast(Tensor, model.get_input_embeddings().weight).shape[0]
    if tokenizer.pad_token_id is not None and tokenizer.pad_token_id >= rows:
        tokenizer.pad_token = tokenizer.eos_token


@torch.no_grad()
def check_logits(mllm: LanguageModel, weights: str) -> None:
    """Check the logits that VTok computes, from embeddings by hidden states, against the model's own.

    Some architectures scale or mix tensors in between. They would be trained on wrong logits. A model on the meta
    device has no logits to check.

    Raises:
        UserError: the logits differ, or the model does not run on embeddings.
    """
    if only_shapes():
        return
    mode = mllm.training
    mllm.eval()
    ids = torch.tensor([mllm.chat.encode([("a", "b")], num_video_tokens=0).ids[-8:]])
    name = type(mllm.model).__name__
    try:
        own = mllm.model(input_ids=ids).logits.float()
        embeddings = mllm.model.get_input_embeddings()(ids)
        ours = mllm.logits(mllm.hidden_states(embeddings))
    except (IndexError, AttributeError, *UNREADABLE) as error:
        raise UserError(
            f"mllm.weights={weights}: {name} does not run on embeddings ({first_line(error)}). "
            "Choose other mllm.weights."
        ) from error
    if (ours - own).abs().max() > 1e-2 * own.abs().max():
        raise UserError(
            f"mllm.weights={weights}: {name} changes hidden states before its output layer in a way that VTok does not "
            "support, so its logits would be wrong. Choose other mllm.weights."
        )
    mllm.train(mode)
