"""The whole: a tokeniser, a language model, a decoder, and the losses that train them together (VTok, section 3)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from transformers import DynamicCache

from vtok.common.errors import UserError
from vtok.common.hashing import stable_hash
from vtok.common.noise import seeded_noise
from vtok.decoder import Decoder, NoDecoder, place
from vtok.mllm import EncodedChat, LanguageModel, VisualProjector
from vtok.model.batch import Batch, Text, stack_text, to_left
from vtok.model.freezing import freeze_unreached
from vtok.model.objective import Objective
from vtok.tokeniser import PlannedFrames, Tokeniser, VideoTokens
from vtok.visual_head import NoVisualHead, VisualHead

DESCRIBE = "describe the video."


@dataclass(frozen=True)
class Sampling:
    """How videos are drawn.

    Attributes:
        steps: sampling steps of the decoder, from noise to video.
        guidance: of the decoder by its condition; 1 is none.
        temperature: of the visual head; 0 takes the likeliest tokens.
    """

    steps: int
    guidance: float
    temperature: float


@dataclass(frozen=True)
class VisualStates:
    """Hidden states around a video's tokens.

    Attributes:
        before: (B, L, D), those that have seen everything up to a token, the token itself not: they predict it.
        condition: (B, N, D), those that the decoder is given: at the tokens, after those at the caption where the
            objective says so.
        mask: (B, N), False at the padding of `condition`, on the right.
    """

    before: Tensor
    condition: Tensor
    mask: Tensor


@dataclass(frozen=True)
class Imagined:
    """Video tokens out of text.

    Attributes:
        tokens: (B, L, d).
        condition, mask: of the decoder, see `VisualStates`.
    """

    tokens: Tensor
    condition: Tensor
    mask: Tensor


class VideoLanguageModel(nn.Module):
    """Video to tokens to text, and text to tokens to video.

    Args:
        tokeniser: clips to video tokens.
        mllm: the language model; phi_vis is made to fit between the two.
        visual_head: makes the head that predicts video tokens, of (hidden width, token width).
        decoder: makes the decoder, of the hidden width.
        objective: the weights of the losses.
    """

    def __init__(
        self,
        *,
        tokeniser: Tokeniser,
        mllm: LanguageModel,
        visual_head: Callable[[int, int], VisualHead | NoVisualHead],
        decoder: Callable[[int], Decoder | NoDecoder],
        objective: Objective,
    ) -> None:
        super().__init__()
        self.tokeniser = tokeniser
        self.mllm = mllm
        self.projector = VisualProjector(token_dim=tokeniser.token_dim, width=mllm.width)
        mllm.initialise_projector(self.projector, depth=tokeniser.backbone.depth)
        # One that is none is never asked: its loss has no weight.
        self.visual_head = cast(VisualHead, visual_head(mllm.width, tokeniser.token_dim))
        self.decoder = cast(Decoder, decoder(mllm.width))
        self.objective = objective
        freeze_unreached(objective, mllm=mllm, visual_head=self.visual_head, decoder=self.decoder)

    @property
    def condition_layer(self) -> int:
        """Which of the language model's hidden states condition the decoder; -1 where none is trained."""
        return self.decoder.condition_layer if self.decodes else -1

    @property
    def decodes(self) -> bool:
        """Whether the model learns to make videos out of video tokens."""
        return isinstance(self.decoder, Decoder) and self.objective.lambda_dec > 0

    @property
    def predicts_tokens(self) -> bool:
        """Whether the model learns to make video tokens out of text."""
        return isinstance(self.visual_head, VisualHead) and self.objective.lambda_visLM > 0

    def forward(self, batch: Batch, shares: Mapping[str, float] | None = None) -> dict[str, Tensor]:
        """Losses by name, and `loss`, their weighted sum. What has no weight is neither computed nor named.

        `under` is the mean over the answers' tokens, `visLM` over video tokens, `dec` over clips. `shares`: see
        `Objective.total`. In training, `end_step` is to follow the micro-batches of each step.
        """
        video = self.tokeniser.encode_planned(batch.video)
        losses = {}
        if self.objective.understands and batch.text is not None:
            logprobs = self.text_logprobs(video, batch.text)
            losses["under"] = -logprobs.sum() / max(1, len(batch.text.predictors))
        if self.objective.generates and batch.captions is not None:
            states = self.visual_states(video, batch.captions)
            if self.objective.lambda_visLM:
                if self.training:
                    self.visual_head.scale.add(video.tokens, video.kind, video.mask)
                losses["visLM"] = self.visual_loss(states, video)
            if self.objective.lambda_dec and batch.target is not None:
                losses["dec"] = self.decoder.loss(batch.target, states.condition, states.mask, captions=batch.prompts)
        return {**losses, "loss": self.objective.total(losses, shares or {})}

    def is_unmeasured(self, batch: Batch) -> bool:
        """Whether the batch has tokens of a kind that is to be predicted and of which none was measured yet."""
        if not self.predicts_tokens:
            return False
        return not self.visual_head.scale.has_seen(self.tokeniser.kinds(batch.video.mask.shape[1]))

    @torch.no_grad()
    def measure(self, batch: Batch) -> None:
        """Take in how a batch's tokens are spread, without a step: so that no step predicts tokens of unknown scale."""
        video = self.tokeniser.encode_planned(batch.video)
        self.visual_head.scale.add(video.tokens, video.kind, video.mask)

    def end_step(self, *, discard: bool = False) -> None:
        """End a step: the tokens of its micro-batches go into the scale that the next ones are predicted in.

        All processes have to call it. `discard`: leave them out, for they were measured before.
        """
        if self.predicts_tokens:
            self.visual_head.scale.update(discard=discard)

    def text_logprobs(self, video: VideoTokens, text: Text) -> Tensor:
        """Log-probability (B, N - 1) of each answer token, 0 elsewhere; row by row one text to one video."""
        embeddings = self.mllm.embed(text.ids, self.projector(video.tokens), video.mask)
        hidden = self.mllm.hidden_states(embeddings, text.mask)
        return self.mllm.answer_logprobs(hidden, text.labels, predictors=text.predictors)

    def visual_states(self, video: VideoTokens, captions: Text) -> VisualStates:
        """The hidden states that predict the video's tokens and that condition the decoder, all tokens given."""
        embeddings = self.mllm.embed(captions.ids, self.projector(video.tokens), video.mask)
        last, tapped = self.mllm.layer_states(embeddings, captions.mask, layers=(-1, self.condition_layer))
        places = captions.ids == self.mllm.chat.video_id
        # A caption comes first, so that no place is at the very beginning.
        before, _ = to_left(last[:, :-1], places[:, 1:])
        condition, mask = to_left(tapped, captions.mask if self.objective.condition_on_caption else places)
        return VisualStates(before=before, condition=condition, mask=mask)

    def visual_loss(self, states: VisualStates, video: VideoTokens) -> Tensor:
        """L_visLM: every token from the caption and the tokens before it; the targets are standardised constants."""
        head, tokens = self.visual_head, video.tokens.detach()
        return head.loss(states.before[video.mask], head.scale.standardise(tokens, video.kind)[video.mask])

    @torch.no_grad()
    def describe(self, video: PlannedFrames, prompts: Sequence[str], *, max_new_tokens: int = 64) -> list[str]:
        """The answer to one prompt a clip, written greedily."""
        return self.answer(self.tokeniser.encode_planned(video), prompts, max_new_tokens=max_new_tokens)

    @torch.no_grad()
    def answer(self, tokens: VideoTokens, prompts: Sequence[str], *, max_new_tokens: int = 64) -> list[str]:
        """What `describe` answers, of clips that are tokens already."""
        chats = [
            EncodedChat(ids := self.mllm.chat.encode_prompt(prompt, num_video_tokens=int(mask.sum())), ids)
            for prompt, mask in zip(prompts, tokens.mask, strict=True)
        ]
        text = stack_text(chats, pad_id=self.mllm.chat.pad_id, side="left").to(tokens.tokens.device)
        embeddings = self.mllm.embed(text.ids, self.projector(tokens.tokens), tokens.mask)
        return self.mllm.generate(embeddings, text.mask, max_new_tokens=max_new_tokens)

    @torch.no_grad()
    def imagine(
        self, captions: Sequence[str], *, num_planned: int, seeds: Sequence[int], temperature: float
    ) -> Imagined:
        """Video tokens out of captions, each after those before it, and what the decoder is given of them.

        Args:
            captions: B texts.
            num_planned: planned frames K of the clips to imagine; it gives the number of tokens L.
            seeds: one a caption.
            temperature: of the visual head.

        Raises:
            UserError: a caption is too long for the language model.
        """
        head, chat = self.visual_head, self.mllm.chat
        device = next(self.projector.parameters()).device
        kinds = self.tokeniser.kinds(num_planned)
        prompts = [chat.encode_video(caption, num_video_tokens=0) for caption in captions]
        self._check_length(max(len(prompt.ids) for prompt in prompts) + len(kinds))
        text = stack_text(prompts, pad_id=chat.pad_id, side="left").to(device)
        nothing = torch.zeros(len(prompts), 0, self.mllm.width, device=device)
        seen = self.mllm.embed(text.ids, nothing, torch.zeros(len(prompts), 0, dtype=torch.bool, device=device))
        mask, cache = text.mask, DynamicCache()
        own = [stable_hash("tokens", seed) for seed in seeds]
        noise = seeded_noise((len(kinds), head.noise_dim), own, like=seen)
        layers = (-1, self.condition_layer)
        last, tapped = self.mllm.continued(seen, mask, cache, layers=layers)
        tokens, states = [], [tapped]
        for number, kind in enumerate(kinds):
            standardised = head.sample(last[:, -1], noise=noise[:, number], temperature=temperature)
            tokens.append(head.scale.restore(standardised, kind))
            mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
            embedding = self.projector(tokens[-1].unsqueeze(1)).to(seen.dtype)
            last, tapped = self.mllm.continued(embedding, mask, cache, layers=layers)
            states.append(tapped)
        if not self.objective.condition_on_caption:
            mask[:, : text.mask.shape[1]] = False
        return Imagined(torch.stack(tokens, dim=1), *to_left(torch.cat(states, dim=1), mask))

    @torch.no_grad()
    def generate(
        self, captions: Sequence[str], *, num_planned: int, seeds: Sequence[int], sampling: Sampling
    ) -> Tensor:
        """Videos (B, F, 3, size, size) uint8 out of captions; the same for the same captions and seeds."""
        made = self.imagine(captions, num_planned=num_planned, seeds=seeds, temperature=sampling.temperature)
        return self.decode(made, captions=captions, seeds=seeds, sampling=sampling)

    @torch.no_grad()
    def reconstruct(
        self, video: PlannedFrames, *, captions: Sequence[str] | None = None, seeds: Sequence[int], sampling: Sampling
    ) -> Tensor:
        """Videos (B, F, 3, size, size) uint8 out of the tokens of clips, and of their captions where given."""
        tokens = self.tokeniser.encode_planned(video)
        states = self.visual_states(tokens, self.caption_text(captions or [""] * len(tokens.mask), tokens))
        return self.decode(states, captions=captions, seeds=seeds, sampling=sampling)

    def caption_text(self, captions: Sequence[str], video: VideoTokens) -> Text:
        """Captions with the places of the video's tokens, as the generation branch reads them."""
        chat = self.mllm.chat
        numbers = video.mask.sum(1).tolist()
        chats = [
            chat.encode_video(caption, num_video_tokens=number)
            for caption, number in zip(captions, numbers, strict=True)
        ]
        self._check_length(max(len(one.ids) for one in chats))
        return stack_text(chats, pad_id=chat.pad_id).to(video.tokens.device)

    def _check_length(self, tokens: int) -> None:
        """Raise UserError where a sequence is longer than any in training could be."""
        if tokens > self.mllm.context_length:
            raise UserError(
                f"the text and the video's tokens make {tokens} tokens, more than "
                f"mllm.context_length={self.mllm.context_length}; shorten the text."
            )

    @torch.no_grad()
    def decode(
        self,
        given: VisualStates | Imagined,
        *,
        captions: Sequence[str] | None,
        seeds: Sequence[int],
        sampling: Sampling,
    ) -> Tensor:
        """Videos (B, F, 3, size, size) uint8 out of hidden states, and of captions where the decoder reads them."""
        return self.decoder.sample(
            given.condition,
            given.mask,
            captions=captions,
            seeds=seeds,
            steps=sampling.steps,
            guidance=sampling.guidance,
        )

    @property
    def offloaded(self) -> Sequence[nn.Module]:
        """Frozen parts of the decoder that are on the CPU until they are used."""
        return self.decoder.offloaded if isinstance(self.decoder, Decoder) else []

    def place(self, device: torch.device | str) -> None:
        """Move to a device to be used there; what the decoder offloads stays where it is until its turn."""
        place(self, device, offloaded=self.offloaded)
