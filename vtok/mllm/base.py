"""A causal language model that reads video tokens among its text tokens."""

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import Cache, GenerationConfig, LogitsProcessor, LogitsProcessorList, PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

from vtok.common.errors import UserError
from vtok.common.finite import check_finite
from vtok.mllm.chat import IGNORED, ChatTokeniser
from vtok.mllm.lora import Lora, add_adapters
from vtok.mllm.projector import VisualProjector


class Finite(LogitsProcessor):
    """Raises UserError where logits are not finite: the likeliest of them would be the vocabulary's first word."""

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        # A model may forbid words of its own by minus infinity.
        check_finite(scores.clamp(min=torch.finfo(scores.dtype).min), what="the language model's logits")
        return scores


class LanguageModel(nn.Module):
    """Wraps a transformers causal language model and its chat tokeniser.

    Args:
        model: the transformers model.
        chat: conversations to token ids.
        context_length: the longest sequence of video and text tokens; None: all that the model takes.
        frozen: train nothing: no gradient for the weights, eval mode for good. What is put in gets its gradient.
        gradient_checkpointing: keep the layers' inputs alone while training, and compute the rest again on the way
            back: slower, in a fraction of the memory.
        lora: adapters to train in the place of the weights, which are then frozen.

    Attributes:
        width: of its embeddings, D.

    Raises:
        UserError: the model takes no sequences so long, or both `frozen` and `lora` are given.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        chat: ChatTokeniser,
        *,
        context_length: int | None = None,
        frozen: bool = False,
        gradient_checkpointing: bool = False,
        lora: Lora | None = None,
    ) -> None:
        super().__init__()
        if frozen and lora is not None:
            raise UserError("mllm.frozen=true: mllm.lora trains adapters; say mllm.frozen=false or mllm.lora=null.")
        self.model = model
        # Its own may hold a penalty of repetitions, a temperature or banned words, which `generate` would mix in.
        self.model.generation_config = GenerationConfig()
        self.chat = chat
        self.width = int(cast(Tensor, model.get_input_embeddings().weight).shape[1])
        self.context_length = fitting_length(model, context_length)
        self.weights_frozen = frozen or lora is not None
        self.requires_grad_(not self.weights_frozen)
        self._adapter_dropouts = [] if lora is None else add_adapters(model, lora)
        if gradient_checkpointing:
            model.activation_checkpointing_enable({"use_reentrant": False})
        self.train()

    def train(self, mode: bool = True) -> "LanguageModel":
        """Set the training mode; of a model whose weights are frozen only adapters get it."""
        super().train(mode and not self.weights_frozen)
        if self.weights_frozen:
            self.training = mode
            # transformers' layers recompute in training mode alone; what is in them stays in eval mode.
            layers = [one for one in self.model.modules() if isinstance(one, GradientCheckpointingLayer)]
            for module in (*(one for one in layers if one.gradient_checkpointing), *self._adapter_dropouts):
                module.training = mode
        return self

    def initialise_projector(self, projector: VisualProjector, *, depth: int | None) -> None:
        """Give phi_vis the weights that came with the language model, where some did; else it stays as it is.

        Args:
            projector: phi_vis.
            depth: layers of a vision transformer below the features that it projects, see `Backbone.depth`.

        Raises:
            UserError: they are for video tokens of another width, or for features of another layer.
        """

    def tables(self) -> list[nn.Module]:
        """The layers with a row for each token: the embeddings of what is read and of what is written."""
        return [self.model.get_input_embeddings(), self.model.get_output_embeddings()]

    def embed(self, ids: Tensor, video: Tensor, video_mask: Tensor) -> Tensor:
        """Embeddings (B, N, D) of ids (B, N), the video's in the places of the video token.

        Args:
            ids: text with as many video tokens in each row as `video_mask` has True in that row.
            video: (B, L, D), projected video tokens.
            video_mask: (B, L), False at padding, which comes last.

        Raises:
            RuntimeError: a row's places and its video tokens differ in number; on a GPU at a later operation.
        """
        places = ids == self.chat.video_id
        # Neither this nor the rest waits for the device, as indexing by a mask would.
        torch._assert_async(
            (places.sum(1) == video_mask.sum(1)).all(),
            "the text has other numbers of places for video tokens than the video has tokens.",
        )
        # The video token's own row is not read: a vocabulary to which it was added needs no larger table.
        embeddings = self.model.get_input_embeddings()(ids.masked_fill(places, 0))
        if video.shape[1] == 0:
            return embeddings
        # The tokens of a row come first in it, so that its n-th place is that of its n-th token.
        numbers = (places.cumsum(1) - 1).clamp(min=0).unsqueeze(-1).expand_as(embeddings)
        return torch.where(places.unsqueeze(-1), video.to(embeddings.dtype).gather(1, numbers), embeddings)

    def check_layer(self, layer: int, *, key: str) -> None:
        """Raise UserError if the model has no hidden states `layer`; `key` is its name in the configuration."""
        count = int(self.model.config.get_text_config().num_hidden_layers)
        # 0 is the embeddings, in which no token knows of another.
        if layer == 0 or abs(layer) > count:
            raise UserError(
                f"{key}={layer}: this language model has {count} layers. Use {-count} to -1 "
                "(-1 is the output of the last layer after the final norm)."
            )

    def freeze_unread(self, *, layers: Sequence[int], logits: bool) -> None:
        """Freeze the weights that no loss reaches.

        Args:
            layers: hidden states that losses read, as `layer_states` counts them.
            logits: whether a loss reads the logits; then it reaches all weights.
        """
        if logits or not any(weight.requires_grad for weight in self.parameters()):
            return
        mode = self.training
        self.eval()
        weight = cast(Tensor, self.model.get_input_embeddings().weight)
        ids = torch.tensor([self.chat.encode([("a", "b")], num_video_tokens=0).ids[-8:]], device=weight.device)
        number = ids.shape[1]
        # transformers looks at the values of a mask over tokens, and on the meta device there are none.
        mask = weight.new_zeros(1, 1, number, number) if ids.is_meta else torch.ones_like(ids)
        with torch.enable_grad():
            embeddings = self.model.get_input_embeddings()(ids)
            output = self._run(embeddings, layers, attention_mask=mask, use_cache=False)
        read = reached(selected(output, layers))
        self.train(mode)
        for parameter in self.parameters():
            parameter.requires_grad_(parameter.requires_grad and id(parameter) in read)

    def hidden_states(self, embeddings: Tensor, attention_mask: Tensor) -> Tensor:
        """The last hidden states (B, N, D), float32; attention_mask (B, N) is False at padding, on either side."""
        (last,) = self.layer_states(embeddings, attention_mask, layers=(-1,))
        return last

    def layer_states(self, embeddings: Tensor, attention_mask: Tensor, *, layers: Sequence[int]) -> list[Tensor]:
        """The hidden states (B, N, D), float32, of several layers.

        Args:
            embeddings: (B, N, D).
            attention_mask: (B, N), False at padding, on either side.
            layers: indices into transformers' `hidden_states`: 0 is the embeddings, n the output of layer n, -1 that
                of the last layer after the final norm.
        """
        output = self._run(
            embeddings,
            layers,
            attention_mask=attention_mask.long(),
            position_ids=positions(attention_mask),
            use_cache=False,
        )
        return selected(output, layers)

    def _run(self, embeddings: Tensor, layers: Sequence[int], **settings: Any) -> Any:
        # The states of all layers are kept only where one is asked for.
        inner = any(layer != -1 for layer in layers)
        return self.model.base_model(inputs_embeds=embeddings, output_hidden_states=inner, **settings)

    @torch.no_grad()
    def continued(
        self, embeddings: Tensor, attention_mask: Tensor, cache: Cache, *, layers: Sequence[int] = (-1,)
    ) -> list[Tensor]:
        """The hidden states (B, n, D), float32, of what follows that which `cache` holds; it grows by them.

        Args:
            embeddings: (B, n, D).
            attention_mask: (B, N), over what the cache holds and the n new ones; False at padding, on the left.
            cache: keys and values of what came before; empty at first.
            layers: as in `layer_states`.
        """
        new = embeddings.shape[1]
        output = self._run(
            embeddings,
            layers,
            attention_mask=attention_mask.long(),
            position_ids=positions(attention_mask)[:, -new:],
            cache=cache,
            use_cache=True,
        )
        return selected(output, layers)

    def logits(self, hidden: Tensor) -> Tensor:
        """Logits (..., vocabulary), float32, of last hidden states (..., D), bounded where the model bounds its own."""
        head = self.model.get_output_embeddings()
        logits = head(hidden.to(cast(Tensor, head.weight).dtype)).float()
        bound = getattr(self.model.config.get_text_config(), "final_logit_softcapping", None)
        return logits if bound is None else bound * torch.tanh(logits / bound)

    def answer_logprobs(self, hidden: Tensor, labels: Tensor, *, predictors: Tensor | None = None) -> Tensor:
        """Log-probability (B, N - 1) of each next token that is a label, 0 elsewhere.

        Logits are made only where needed.

        Args:
            hidden: (B, N, D) last hidden states.
            labels: (B, N) ids, IGNORED where nothing is to be predicted.
            predictors: what `find_predictors` finds in `labels`, where it is known: then the device is not waited for.
        """
        where = find_predictors(labels) if predictors is None else predictors
        logits = self.logits(hidden.flatten(0, 1).index_select(0, where))
        targets = labels.flatten().index_select(0, where + 1)
        logprobs = hidden.new_zeros(labels.numel(), dtype=torch.float32)
        logprobs = logprobs.index_copy(0, where, -nn.functional.cross_entropy(logits, targets, reduction="none"))
        return logprobs.view_as(labels)[:, :-1].contiguous()

    @torch.no_grad()
    def generate(self, embeddings: Tensor, attention_mask: Tensor, *, max_new_tokens: int) -> list[str]:
        """The likeliest continuation, greedily, of each row of embeddings (B, N, D), padded on the left.

        Raises:
            UserError: the logits are not finite numbers.
        """
        # A PreTrainedModel is not typed as one that generates: only its subclasses are.
        ids = self.model.generate(  # type: ignore[operator]
            inputs_embeds=embeddings,
            attention_mask=attention_mask.long(),
            max_new_tokens=max_new_tokens,
            do_sample=False,
            logits_processor=LogitsProcessorList([Finite()]),
            eos_token_id=self.chat.stop_ids,
            pad_token_id=self.chat.pad_id,
        )
        return [self.chat.decode(row) for row in ids.tolist()]


def find_predictors(labels: Tensor) -> Tensor:
    """Where the next token is a label: positions (n,) in labels (B, N) as one row of B * N."""
    is_label = (labels != IGNORED).roll(-1, dims=1)
    is_label[:, -1] = False
    return is_label.flatten().nonzero().flatten()


def selected(output: Any, layers: Sequence[int]) -> list[Tensor]:
    """The hidden states of these layers of a model's output, float32."""
    return [(output.last_hidden_state if layer == -1 else output.hidden_states[layer]).float() for layer in layers]


def reached(outputs: Sequence[Tensor]) -> set[int]:
    """The ids of the tensors that a gradient of the outputs arrives at, read off autograd's graph."""
    found, seen = set(), set()
    waiting = [output.grad_fn for output in outputs]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        # Of a leaf alone, where gradients are accumulated.
        if (leaf := getattr(node, "variable", None)) is not None:
            found.add(id(leaf))
        waiting += [following for following, _ in node.next_functions]
    return found


def positions(attention_mask: Tensor) -> Tensor:
    """Position ids (B, N) that count true tokens only."""
    return (attention_mask.long().cumsum(1) - 1).clamp(min=0)


def fitting_length(model: PreTrainedModel, wanted: int | None) -> int:
    """The context length that is wanted, or all that the model takes.

    Raises:
        UserError: the model takes less, or does not say what it takes.
    """
    longest = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    if wanted is None:
        if longest is not None:
            return int(longest)
        raise UserError("mllm.context_length=null: this model does not say how much it takes; say a number of tokens.")
    if longest is not None and wanted > longest:
        raise UserError(f"mllm.context_length={wanted}: this model takes {longest} tokens; say so many or fewer.")
    return wanted
