"""Pretrained language models and their tokenizers, as transformers loads them."""

from typing import Any, cast

import torch
from tokenizers import AddedToken
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from vtok.common.errors import UserError
from vtok.common.pretrained import UNREADABLE, Place, first_line, read_config, read_model, refuse_missing
from vtok.mllm.base import LanguageModel

KIND = "decoder-only language model"


def read_causal_lm(
    place: Place, *, dtype: torch.dtype, dropout: bool
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The language model and its tokenizer. `dropout`: whether the model keeps its own dropout."""
    config = read_config(place)
    if not dropout:
        without_dropout(config)
    model, missing = read_model(AutoModelForCausalLM, place, dtype=dtype, config=config)
    refuse_missing(missing, KIND)
    return model, read_tokenizer(place)


def read_tokenizer(place: Place) -> PreTrainedTokenizerBase:
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

    Some architectures scale or mix tensors in between. They would be trained on wrong logits.

    Raises:
        UserError: the logits differ, or the model does not run on embeddings.
    """
    mode = mllm.training
    mllm.eval()
    ids = torch.tensor([mllm.chat.encode([("a", "b")], num_video_tokens=0).ids[-8:]])
    name = type(mllm.model).__name__
    try:
        own = mllm.model(input_ids=ids).logits.float()
        embeddings = mllm.model.get_input_embeddings()(ids)
        ours = mllm.logits(mllm.hidden_states(embeddings, torch.ones_like(ids, dtype=torch.bool)))
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
