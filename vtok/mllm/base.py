"""A causal language model that reads video tokens among its text tokens."""

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from transformers import Cache, GenerationConfig, LogitsProcessor, LogitsProcessorList, PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

from vtok.common.autograd import leaves_of
from vtok.common.errors import UserError
from vtok.common.finite import check_finite
from vtok.mllm.branches import mask_and_positions, reads_branches
from vtok.mllm.chat import IGNORED, ChatTokeniser
from vtok.mllm.lora import Lora, add_adapters
from vtok.mllm.masks import position_ids, readable_mask
from vtok.mllm.no_cache import NoCache
from vtok.mllm.projector import VisualProjector
from vtok.mllm.text_length import checked_context_length


class RequireFinite(LogitsProcessor):
    """Raises UserError if logits are not finite. The argmax of NaN logits would be the first word of the vocabulary."""

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        # A model may forbid words by minus infinity.
        check_finite(scores.clamp(min=torch.finfo(scores.dtype).min), what="the language model's logits")
        return scores


class AnswerScores(NamedTuple):
    """Scores (B, N) of the targets of N tokens.

    Attributes:
        logprobs: float32, log-probability of the target after each token, 0 where there is none.
        likeliest: whether there is a target and it is the most likely token.
    """

    logprobs: Tensor
    likeliest: Tensor


class LanguageModel(nn.Module):
    """Wraps a transformers causal language model and its chat tokeniser.

    Args:
        model: the transformers model.
        chat: tokeniser of conversations.
        context_length: number of video and text tokens in the longest sequence; None: the model's own limit.
        frozen: whether no weight is trained; the model then stays in eval mode. Its inputs still get gradients.
        gradient_checkpointing: whether the backward pass recomputes activations: less memory, more time.
        lora: adapters to train instead of the weights, which are then frozen.
        standardise_video: whether video tokens are standardised by their kind before phi_vis.
        encode_places: add a trained encoding of row, column and time to the video tokens of a clip that is described,
            see `PlaceEncoder`; the tokens of a video that is generated have none.

    Attributes:
        width: width D of the embeddings.

    Raises:
        UserError: the model does not take sequences of this length.
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
        standardise_video: bool = True,
        encode_places: bool = False,
    ) -> None:
        super().__init__()
        self.standardise_video = standardise_video
        self.encode_places = encode_places
        self.model = model
        # The model's own may have a repetition penalty, a temperature or banned words, which `generate` would apply.
        self.model.generation_config = GenerationConfig()
        self.chat = chat
        self.width = int(cast(Tensor, model.get_input_embeddings().weight).shape[1])
        self.context_length = checked_context_length(model, context_length)
        self.weights_frozen = frozen or lora is not None
        self.requires_grad_(not self.weights_frozen)
        self._adapter_dropouts = [] if lora is None else add_adapters(model, lora)
        if gradient_checkpointing:
            model.activation_checkpointing_enable({"use_reentrant": False})
            for layer in model.modules():
                if isinstance(layer, GradientCheckpointingLayer):
                    # In training the only cache is `NoCache`, which a second forward pass does not change.
                    layer._can_checkpoint_with_cache = True
        self.train()

    def train(self, mode: bool = True) -> "LanguageModel":
        """Set the training mode; if the weights are frozen, only the adapters change mode."""
        super().train(mode and not self.weights_frozen)
        if self.weights_frozen:
            self.training = mode
            # transformers' layers recompute only in training mode. The modules in them stay in eval mode.
            layers = [one for one in self.model.modules() if isinstance(one, GradientCheckpointingLayer)]
            for module in (*(one for one in layers if one.gradient_checkpointing), *self._adapter_dropouts):
                module.training = mode
        return self

    def initialise_projector(self, projector: VisualProjector, *, depth: int | None) -> None:
        """Load the projector weights that come with the language model, if any, into phi_vis.

        Args:
            projector: phi_vis.
            depth: depth of the features that it projects, see `Backbone.depth`.

        Raises:
            UserError: the weights are for video tokens of another width, or for features of another layer.
        """

    def vocabulary_layers(self) -> list[nn.Module]:
        """The layers with a row for each token of the vocabulary: input embeddings and output layer."""
        return [self.model.get_input_embeddings(), self.model.get_output_embeddings()]

    def embed_words(self, ids: Tensor) -> Tensor:
        """Embeddings (B, N, D) of ids (B, N).

        A video token gets an arbitrary row, so adding it needs no larger table.
        """
        return self.model.get_input_embeddings()(ids.masked_fill(ids == self.chat.video_id, 0))

    def embed(self, ids: Tensor, video: Tensor, video_mask: Tensor) -> Tensor:
        """Embeddings (B, N, D) of ids (B, N), with projected video tokens at the positions of the video token.

        Args:
            ids: (B, N) token ids; each row has as many video tokens as `video_mask` has True values in that row.
            video: (B, L, D), projected video tokens.
            video_mask: (B, L), False at padding, which comes last.

        Raises:
            RuntimeError: a row has more or fewer positions than video tokens; on a GPU it is raised later.
        """
        places = ids == self.chat.video_id
        # Nothing here waits for the device, as indexing by a mask would.
        torch._assert_async(
            (places.sum(1) == video_mask.sum(1)).all(),
            "the number of places for video tokens in the text differs from the number of video tokens.",
        )
        embeddings = self.embed_words(ids)
        if video.shape[1] == 0:
            return embeddings
        # Padding comes last, so the n-th place of a row belongs to its n-th video token.
        numbers = (places.cumsum(1) - 1).clamp(min=0).unsqueeze(-1).expand_as(embeddings)
        return torch.where(places.unsqueeze(-1), video.to(embeddings.dtype).gather(1, numbers), embeddings)

    def check_length(self, tokens: int) -> None:
        """Raise UserError if a sequence is longer than the context length."""
        if tokens > self.context_length:
            raise UserError(
                f"The text and the video make {tokens} tokens, more than "
                f"mllm.context_length={self.context_length}. Use a shorter text."
            )

    def check_layer(self, layer: int, *, key: str) -> None:
        """Raise UserError if the model has no hidden states `layer`; `key` is its name in the configuration."""
        count = int(self.model.config.get_text_config().num_hidden_layers)
        # 0 is refused: embeddings do not depend on other tokens.
        if layer == 0 or abs(layer) > count:
            raise UserError(
                f"{key}={layer}: this language model has {count} layers. Use {-count} to -1 "
                "(-1 is the output of the last layer after the final norm)."
            )

    def freeze_without_gradient(self, *, layers: Sequence[int], logits: bool) -> None:
        """Freeze the weights that get no gradient from any loss.

        Args:
            layers: indices of the hidden states that losses use, as in `layer_states`.
            logits: whether a loss uses the logits; then all weights get a gradient.
        """
        if logits or not any(weight.requires_grad for weight in self.parameters()):
            return
        mode = self.training
        self.eval()
        weight = cast(Tensor, self.model.get_input_embeddings().weight)
        ids = torch.tensor([self.chat.encode([("a", "b")], num_video_tokens=0).ids[-8:]], device=weight.device)
        with torch.enable_grad():
            states = self.layer_states(self.model.get_input_embeddings()(ids), layers=layers)
        with_gradient = leaves_of(states)
        self.train(mode)
        for parameter in self.parameters():
            parameter.requires_grad_(parameter.requires_grad and id(parameter) in with_gradient)

    @property
    def reads_branches(self) -> bool:
        """Whether `hidden_states` can read branches."""
        return reads_branches(self.model)

    def hidden_states(self, embeddings: Tensor, *, seen_until: Tensor | None = None) -> Tensor:
        """The last hidden states (B, N, D), float32, see `layer_states`."""
        (last,) = self.layer_states(embeddings, layers=(-1,), seen_until=seen_until)
        return last

    def layer_states(
        self, embeddings: Tensor, *, layers: Sequence[int], seen_until: Tensor | None = None
    ) -> list[Tensor]:
        """The hidden states (B, N, D), float32, of several layers.

        Without branches no mask is needed: attention is causal and padding comes last, so no token sees it. Attention
        then uses its fastest kernel, and transformers does not wait for the device to look for padding (see `NoCache`).

        Args:
            embeddings: (B, N, D); padding, if any, is on the right, and its states mean nothing.
            layers: indices into transformers' `hidden_states`: 0 is the embeddings, n the output of layer n, -1 that
                of the last layer after the final norm.
            seen_until: (B, N), see `mask_and_positions`, for models that read branches; None: one conversation a row.
        """
        if seen_until is not None:
            attention = self.model.config._attn_implementation
            mask, positions = mask_and_positions(seen_until, embeddings, attention=attention)
            output = self._run(
                embeddings, layers, attention_mask=mask, position_ids=positions, cache=NoCache(), use_cache=False
            )
        elif NoCache.fits(self.model.config):
            output = self._run(embeddings, layers, cache=NoCache(), use_cache=False)
        else:
            mask = torch.ones(embeddings.shape[:2], dtype=torch.bool, device=embeddings.device)
            output = self._run(embeddings, layers, attention_mask=readable_mask(mask, embeddings), use_cache=False)
        return select_layers(output, layers)

    def _run(self, embeddings: Tensor, layers: Sequence[int], **settings: Any) -> Any:
        # Keeping the states of all layers takes memory, and the last ones are returned anyway.
        inner = any(layer != -1 for layer in layers)
        return self.model.base_model(inputs_embeds=embeddings, output_hidden_states=inner, **settings)

    @torch.no_grad()
    def decode_step(
        self, embeddings: Tensor, attention_mask: Tensor, cache: Cache, *, layers: Sequence[int] = (-1,)
    ) -> list[Tensor]:
        """The hidden states (B, n, D), float32, of n new tokens after those in `cache`, to which they are added.

        Args:
            embeddings: (B, n, D) embeddings of the new tokens.
            attention_mask: (B, N), over the tokens in the cache and the new ones; False at padding, on the left.
            cache: keys and values of the tokens before; empty at first.
            layers: as in `layer_states`.
        """
        new = embeddings.shape[1]
        output = self._run(
            embeddings,
            layers,
            attention_mask=attention_mask.long(),
            position_ids=position_ids(attention_mask)[:, -new:],
            cache=cache,
            use_cache=True,
        )
        return select_layers(output, layers)

    def logits(self, hidden: Tensor) -> Tensor:
        """Logits (..., vocabulary), float32, of last hidden states (..., D), with the model's soft cap if any."""
        head = self.model.get_output_embeddings()
        logits = head(hidden.to(cast(Tensor, head.weight).dtype)).float()
        cap = getattr(self.model.config.get_text_config(), "final_logit_softcapping", None)
        return logits if cap is None else cap * torch.tanh(logits / cap)

    def score_answers(self, hidden: Tensor, targets: Tensor, *, predictors: Tensor | None = None) -> AnswerScores:
        """The scores of all targets. Logits are computed only where there are some.

        Args:
            hidden: (B, N, D) last hidden states.
            targets: (B, N), the id to predict after each token, or IGNORED.
            predictors: `find_predictors(targets)` if it is known already, which avoids waiting for the device.
        """
        where = find_predictors(targets) if predictors is None else predictors
        logits = self.logits(hidden.flatten(0, 1).index_select(0, where))
        true = targets.flatten().index_select(0, where)
        logprobs = hidden.new_zeros(targets.numel(), dtype=torch.float32)
        logprobs = logprobs.index_copy(0, where, -nn.functional.cross_entropy(logits, true, reduction="none"))
        likeliest = torch.zeros_like(logprobs, dtype=torch.bool).index_copy(0, where, logits.argmax(-1) == true)
        return AnswerScores(logprobs.view_as(targets), likeliest.view_as(targets))

    @torch.no_grad()
    def generate(self, embeddings: Tensor, attention_mask: Tensor, *, max_new_tokens: int) -> list[str]:
        """The greedy continuation of each row of embeddings (B, N, D), padded on the left.

        Raises:
            UserError: the logits are not finite.
        """
        # The type PreTrainedModel has no `generate`, only its subclasses have.
        ids = self.model.generate(  # type: ignore[operator]
            inputs_embeds=embeddings,
            attention_mask=attention_mask.long(),
            max_new_tokens=max_new_tokens,
            do_sample=False,
            logits_processor=LogitsProcessorList([RequireFinite()]),
            eos_token_id=self.chat.stop_ids,
            pad_token_id=self.chat.pad_id,
        )
        return [self.chat.decode(row) for row in ids.tolist()]


def find_predictors(targets: Tensor) -> Tensor:
    """Places (n,) of the tokens that predict one, in targets (B, N) flattened to B * N."""
    return (targets != IGNORED).flatten().nonzero().flatten()


def select_layers(output: Any, layers: Sequence[int]) -> list[Tensor]:
    """The hidden states of these layers in a model's output, float32."""
    return [(output.last_hidden_state if layer == -1 else output.hidden_states[layer]).float() for layer in layers]
