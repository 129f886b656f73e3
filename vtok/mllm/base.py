"""A causal language model that reads video tokens among its text tokens."""

from typing import cast

import torch
from torch import Tensor, nn
from transformers import Cache, PreTrainedModel

from vtok.mllm.chat import IGNORED, ChatTokeniser


class LanguageModel(nn.Module):
    """Wraps a transformers causal language model and its chat tokeniser.

    Attributes:
        model: the transformers model.
        chat: conversations to token ids.
        width: of its embeddings, D.
        context_length: the longest sequence it takes.
    """

    def __init__(self, model: PreTrainedModel, chat: ChatTokeniser) -> None:
        super().__init__()
        self.model = model
        self.chat = chat
        self.width = int(cast(Tensor, model.get_input_embeddings().weight).shape[1])
        self.context_length = int(model.config.max_position_embeddings)

    def tables(self) -> list[nn.Module]:
        """The layers with a row for each token: the embeddings of what is read and of what is written."""
        return [self.model.get_input_embeddings(), self.model.get_output_embeddings()]

    def embed(self, ids: Tensor, video: Tensor, video_mask: Tensor) -> Tensor:
        """Embeddings (B, N, D) of ids (B, N), the video's in the places of the video token.

        Args:
            ids: text with as many video tokens in each row as `video_mask` has True in that row.
            video: (B, L, D), projected video tokens.
            video_mask: (B, L).

        Raises:
            ValueError: a row's places and its video tokens differ in number.
        """
        places = ids == self.chat.video_id
        if not torch.equal(places.sum(1), video_mask.sum(1)):
            raise ValueError("the text has other numbers of places for video tokens than the video has tokens.")
        embeddings = self.model.get_input_embeddings()(ids)
        return embeddings.masked_scatter(places.unsqueeze(-1), video[video_mask].to(embeddings.dtype))

    def hidden_states(self, embeddings: Tensor, attention_mask: Tensor) -> Tensor:
        """The last hidden states (B, N, D); attention_mask (B, N) is False at padding, on either side."""
        output = self.model.base_model(
            inputs_embeds=embeddings,
            attention_mask=attention_mask.long(),
            position_ids=positions(attention_mask),
            use_cache=False,
        )
        return output.last_hidden_state

    @torch.no_grad()
    def continued(self, embeddings: Tensor, attention_mask: Tensor, cache: Cache) -> Tensor:
        """The last hidden states (B, n, D) of embeddings (B, n, D) that follow what `cache` holds, which grows by them.

        Args:
            embeddings: (B, n, D).
            attention_mask: (B, N), over what the cache holds and the n new ones; False at padding, on the left.
            cache: keys and values of what came before; empty at first.
        """
        new = embeddings.shape[1]
        output = self.model.base_model(
            inputs_embeds=embeddings,
            attention_mask=attention_mask.long(),
            position_ids=positions(attention_mask)[:, -new:],
            cache=cache,
            use_cache=True,
        )
        return output.last_hidden_state

    def answer_logprobs(self, hidden: Tensor, labels: Tensor) -> Tensor:
        """Log-probability (B, N - 1) of each next token that is a label, 0 elsewhere.

        Logits are made only where needed.

        Args:
            hidden: (B, N, D) last hidden states.
            labels: (B, N) ids, IGNORED where nothing is to be predicted.
        """
        targets = labels[:, 1:]
        wanted = targets != IGNORED
        logits = self.model.get_output_embeddings()(hidden[:, :-1][wanted]).float()
        logprobs = hidden.new_zeros(targets.shape, dtype=torch.float32)
        logprobs[wanted] = -nn.functional.cross_entropy(logits, targets[wanted], reduction="none")
        return logprobs

    @torch.no_grad()
    def generate(self, embeddings: Tensor, attention_mask: Tensor, *, max_new_tokens: int) -> list[str]:
        """The likeliest continuation, greedily, of each row of embeddings (B, N, D), padded on the left."""
        # A PreTrainedModel is not typed as one that generates: only its subclasses are.
        ids = self.model.generate(  # type: ignore[operator]
            inputs_embeds=embeddings,
            attention_mask=attention_mask.long(),
            max_new_tokens=max_new_tokens,
            do_sample=False,
            eos_token_id=self.chat.end_id,
            pad_token_id=self.chat.pad_id,
        )
        return [self.chat.decode(row) for row in ids.tolist()]


def positions(attention_mask: Tensor) -> Tensor:
    """Position ids (B, N) that count true tokens only."""
    return (attention_mask.long().cumsum(1) - 1).clamp(min=0)
