"""The full model: tokeniser, language model, visual head and decoder, with their joint losses (VTok, section 3)."""

from collections.abc import Callable, Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from transformers import DynamicCache

from vtok.common.hashing import stable_hash
from vtok.common.noise import seeded_noise
from vtok.decoder import Decoder, NoDecoder, place
from vtok.mllm import AnswerScores, LanguageModel, VisualProjector
from vtok.model.batch import Batch, Text, stack_prompts, stack_text, to_left
from vtok.model.freezing import freeze_unused
from vtok.model.objective import ACCURACY, Objective
from vtok.model.place_encoder import PlaceEncoder
from vtok.model.question_encoder import question_encoder_of
from vtok.model.token_scale import INPUT_STEPS, TokenScale
from vtok.model.visual_states import GeneratedTokens, Sampling, VisualStates
from vtok.tokeniser import PlannedFrames, Tokeniser, VideoTokens
from vtok.visual_head import NoVisualHead, VisualHead

DESCRIBE = "describe the video."


class VideoLanguageModel(nn.Module):
    """Understands videos (video to tokens to text) and generates them (text to tokens to video).

    Args:
        tokeniser: tokeniser of clips.
        mllm: language model; its projector phi_vis is built here, to match the width of the video tokens.
        visual_head: builds the visual head from (width of the hidden states, width of the video tokens).
        decoder: builds the decoder from the width of the hidden states.
        objective: weights of the losses.
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
        self.places = PlaceEncoder(mllm.width) if mllm.encode_places else None
        self.input_scale = TokenScale(tokeniser.token_dim, steps=INPUT_STEPS)
        self.target_scale = TokenScale(tokeniser.token_dim)
        self.question_encoder = question_encoder_of(tokeniser, width=mllm.width)
        # The absent head and decoder are never called: their losses have weight 0.
        self.visual_head = cast(VisualHead, visual_head(mllm.width, tokeniser.token_dim))
        self.decoder = cast(Decoder, decoder(mllm.width))
        self.objective = objective
        freeze_unused(objective, mllm=mllm, places=self.places, visual_head=self.visual_head, decoder=self.decoder)

    @property
    def condition_layer(self) -> int:
        """Index of the language model's hidden states that condition the decoder; -1 if no decoder is trained."""
        return self.decoder.condition_layer if self.decodes else -1

    @property
    def decodes(self) -> bool:
        """Whether the model learns to decode video tokens to videos."""
        return isinstance(self.decoder, Decoder) and self.objective.lambda_dec > 0

    @property
    def predicts_tokens(self) -> bool:
        """Whether the model learns to predict video tokens."""
        return isinstance(self.visual_head, VisualHead) and self.objective.lambda_visLM > 0

    @property
    def reads_branches(self) -> bool:
        """Whether turns about a clip can be branches of one row: no video token depends on the question."""
        return self.mllm.reads_branches and not self.tokeniser.reads_question

    def forward(self, batch: Batch, shares: Mapping[str, float] | None = None) -> dict[str, Tensor]:
        """Losses by name, and `loss`, their weighted sum. Losses of weight 0 are left out.

        `under` is the mean over the answers' tokens, `visLM` over video tokens, `dec` over clips. With `under` comes
        `accuracy`, the share of the answers' tokens that are the most likely ones after the true tokens before them. In
        training, `end_step` must be called after the micro-batches of each step.

        Args:
            batch: clips with their texts and targets.
            shares: see `Objective.total`.
        """
        clips = self.tokeniser.encode_planned(batch.video)
        video = self._of_texts(clips, batch)
        if self.training:
            self._add_to_scales(clips, video)
        losses, accuracy = {}, {}
        if self.objective.understands and batch.text is not None:
            scores, number = self.text_scores(video, batch.text), max(1, len(batch.text.predictors))
            losses["under"] = -scores.logprobs.sum() / number
            accuracy[ACCURACY] = scores.likeliest.sum() / number
        if self.objective.generates and batch.captions is not None:
            states = self.visual_states(clips, batch.captions)
            if self.objective.lambda_visLM:
                losses["visLM"] = self.visual_loss(states, clips, number=len(batch.captions.predictors))
            if self.objective.lambda_dec and batch.target is not None:
                losses["dec"] = self.decoder.loss(batch.target, states.condition, states.mask, captions=batch.prompts)
        return {**losses, **accuracy, "loss": self.objective.total(losses, shares or {})}

    @property
    def scales(self) -> list[TokenScale]:
        """The scales that are used: of what enters phi_vis, and of what the visual head predicts."""
        inputs = [self.input_scale] if self.mllm.standardise_video else []
        return inputs + ([self.target_scale] if self.predicts_tokens else [])

    def is_unmeasured(self, batch: Batch) -> bool:
        """Whether the scale of some kind of token in the batch is used and not known."""
        kinds = self.tokeniser.kinds(batch.video.mask.shape[1])
        return any(not scale.has_seen(kinds) for scale in self.scales)

    @torch.no_grad()
    def measure(self, batch: Batch) -> None:
        """Add a batch's tokens to the scales, before the first step that has tokens of their kind."""
        clips = self.tokeniser.encode_planned(batch.video)
        self._add_to_scales(clips, self._of_texts(clips, batch))

    def _add_to_scales(self, clips: VideoTokens, of_texts: VideoTokens) -> None:
        """Add each clip once, but tokens that depend on the question once for each question."""
        video = clips if self.question_encoder is None else of_texts
        for scale in self.scales:
            scale.add(video.tokens, video.kind, video.mask)

    def end_step(self, *, discard: bool = False) -> None:
        """End a step: update the scales with the tokens of its micro-batches. All processes must call it.

        `discard`: ignore the tokens, because `measure` has added them already.
        """
        for scale in self.scales:
            scale.update(discard=discard)

    def _of_texts(self, clips: VideoTokens, batch: Batch) -> VideoTokens:
        """The tokens of each row's clip, for its question if they depend on one; the clips without texts."""
        video = clips if batch.clip_of_row is None else clips.select(batch.clip_of_row)
        return video if batch.text is None else self.condition(video, batch.text)

    def condition(self, video: VideoTokens, text: Text) -> VideoTokens:
        """Video i for the question in row i of the text; unchanged if no token depends on it, or it was read before."""
        if self.question_encoder is None or video.patches is None:
            return video
        queries = self.question_encoder(self.mllm.embed_words(text.ids))
        return self.tokeniser.condition(video, queries, text.question(self.mllm.chat.video_id))

    def project(self, tokens: Tensor, kind: Tensor) -> Tensor:
        """phi_vis: tokens (B, L, d) of kinds (L,), standardised unless the language model wants them as they are."""
        return self.projector(self.input_scale.standardise(tokens, kind) if self.mllm.standardise_video else tokens)

    def embed_clips(self, video: VideoTokens) -> Tensor:
        """The embeddings (B, L, D) of clips to describe: phi_vis, with the places of the tokens if they are encoded.

        The generation branch uses `project` alone. A tokeniser that selects would need the video to know where the
        tokens of a generated one are.
        """
        projected = self.project(video.tokens, video.kind)
        return projected if self.places is None else projected + self.places(video)

    def text_scores(self, video: VideoTokens, text: Text) -> AnswerScores:
        """The scores of the answers' tokens; row i of the text is about video i."""
        video = self.condition(video, text)
        embeddings = self.mllm.embed(text.ids, self.embed_clips(video), video.mask)
        hidden = self.mllm.hidden_states(embeddings, seen_until=text.seen_until)
        return self.mllm.score_answers(hidden, text.targets, predictors=text.predictors)

    def visual_states(self, video: VideoTokens, captions: Text) -> VisualStates:
        """The hidden states that predict the video tokens and condition the decoder, with teacher forcing."""
        embeddings = self.mllm.embed(captions.ids, self.project(video.tokens, video.kind), video.mask)
        last, tapped = self.mllm.layer_states(embeddings, layers=(-1, self.condition_layer))
        places = captions.ids == self.mllm.chat.video_id
        length = video.mask.shape[1]
        # A caption comes first, so the first position of a row is never a video token.
        before, _ = to_left(last[:, :-1], places[:, 1:], length=length)
        if self.objective.condition_on_caption:
            # Padding is on the right already.
            condition, mask = tapped.masked_fill(~captions.mask.unsqueeze(-1), 0.0), captions.mask
        else:
            condition, mask = to_left(tapped, places, length=length)
        return VisualStates(before=before, condition=condition, mask=mask)

    def visual_loss(self, states: VisualStates, video: VideoTokens, *, number: int) -> Tensor:
        """L_visLM: each token is predicted from the caption and the tokens before it. Targets get no gradient.

        Args:
            states: hidden states of the generation branch.
            video: video tokens.
            number: number of video tokens without padding, which the device need not be asked for.
        """
        target = self.target_scale.standardise(video.tokens.detach(), video.kind)
        where = torch.nonzero_static(video.mask.flatten(), size=number).flatten()
        before, target = (tensor.flatten(0, 1).index_select(0, where) for tensor in (states.before, target))
        return self.visual_head.loss(before, target)

    @torch.no_grad()
    def describe(self, video: PlannedFrames, prompts: Sequence[str], *, max_new_tokens: int = 64) -> list[str]:
        """The greedy answer to one prompt for each clip, which ends at the latest at the context length.

        Raises:
            UserError: a prompt leaves no room for an answer, or the logits are not finite.
        """
        return self.answer(self.tokeniser.encode_planned(video), prompts, max_new_tokens=max_new_tokens)

    @torch.no_grad()
    def answer(self, tokens: VideoTokens, prompts: Sequence[str], *, max_new_tokens: int = 64) -> list[str]:
        """The greedy answers of `describe`, from video tokens."""
        text = stack_prompts(self.mllm.chat, prompts, numbers=tokens.mask.sum(1).tolist()).to(tokens.tokens.device)
        length = text.ids.shape[1]
        self.mllm.check_length(length + 1)
        tokens = self.condition(tokens, text)
        embeddings = self.mllm.embed(text.ids, self.embed_clips(tokens), tokens.mask)
        left = self.mllm.context_length - length
        return self.mllm.generate(embeddings, text.mask, max_new_tokens=min(max_new_tokens, left))

    @torch.no_grad()
    def generate_tokens(
        self, captions: Sequence[str], *, num_planned: int, seeds: Sequence[int], temperature: float
    ) -> GeneratedTokens:
        """Video tokens generated autoregressively from captions, and the decoder's condition.

        Args:
            captions: B captions.
            num_planned: number K of planned frames of a clip; it determines the number of tokens L.
            seeds: random seed of each caption.
            temperature: temperature of the visual head; 0: the most likely tokens.

        Raises:
            UserError: a caption is too long for the language model.
        """
        head, chat = self.visual_head, self.mllm.chat
        device = next(self.projector.parameters()).device
        kinds = self.tokeniser.kinds(num_planned)
        prompts = [chat.encode_video(caption, num_video_tokens=0) for caption in captions]
        self.mllm.check_length(max(len(prompt.ids) for prompt in prompts) + len(kinds))
        text = stack_text(prompts, pad_id=chat.pad_id, side="left").to(device)
        nothing = torch.zeros(len(prompts), 0, self.mllm.width, device=device)
        seen = self.mllm.embed(text.ids, nothing, torch.zeros(len(prompts), 0, dtype=torch.bool, device=device))
        mask, cache = text.mask, DynamicCache()
        own = [stable_hash("tokens", seed) for seed in seeds]
        noise = seeded_noise((len(kinds), head.noise_dim), own, like=seen)
        layers = (-1, self.condition_layer)
        last, tapped = self.mllm.decode_step(seen, mask, cache, layers=layers)
        tokens, states = [], [tapped]
        for number, kind in enumerate(kinds):
            standardised = head.sample(last[:, -1], noise=noise[:, number], temperature=temperature)
            tokens.append(self.target_scale.unstandardise(standardised, kind))
            mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
            embedding = self.project(tokens[-1].unsqueeze(1), kind.unsqueeze(0)).to(seen.dtype)
            last, tapped = self.mllm.decode_step(embedding, mask, cache, layers=layers)
            states.append(tapped)
        length = mask.shape[1]
        if not self.objective.condition_on_caption:
            mask[:, : text.mask.shape[1]] = False
            length = len(kinds)
        condition = to_left(torch.cat(states, dim=1), mask, length=length)
        return GeneratedTokens(torch.stack(tokens, dim=1), *condition)

    @torch.no_grad()
    def generate(
        self, captions: Sequence[str], *, num_planned: int, seeds: Sequence[int], sampling: Sampling
    ) -> Tensor:
        """Videos (B, F, 3, size, size) uint8 from captions; the same captions and seeds give the same videos."""
        tokens = self.generate_tokens(captions, num_planned=num_planned, seeds=seeds, temperature=sampling.temperature)
        return self.decode(tokens, captions=captions, seeds=seeds, sampling=sampling)

    @torch.no_grad()
    def reconstruct(
        self, video: PlannedFrames, *, captions: Sequence[str] | None = None, seeds: Sequence[int], sampling: Sampling
    ) -> Tensor:
        """Videos (B, F, 3, size, size) uint8 from the tokens of clips and, if given, their captions."""
        tokens = self.tokeniser.encode_planned(video)
        states = self.visual_states(tokens, self.caption_text(captions or [""] * len(tokens.mask), tokens))
        return self.decode(states, captions=captions, seeds=seeds, sampling=sampling)

    def caption_text(self, captions: Sequence[str], video: VideoTokens) -> Text:
        """Captions followed by the places of the video tokens: the input of the generation branch."""
        chat = self.mllm.chat
        numbers = video.mask.sum(1).tolist()
        chats = [
            chat.encode_video(caption, num_video_tokens=number)
            for caption, number in zip(captions, numbers, strict=True)
        ]
        self.mllm.check_length(max(len(one.ids) for one in chats))
        return stack_text(chats, pad_id=chat.pad_id).to(video.tokens.device)

    @torch.no_grad()
    def decode(
        self,
        given: VisualStates | GeneratedTokens,
        *,
        captions: Sequence[str] | None,
        seeds: Sequence[int],
        sampling: Sampling,
    ) -> Tensor:
        """Videos (B, F, 3, size, size) uint8 from hidden states, and from captions if the decoder reads them."""
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
        """Frozen modules of the decoder that stay on the CPU until they are used."""
        return self.decoder.offloaded if isinstance(self.decoder, Decoder) else []

    def place(self, device: torch.device | str) -> None:
        """Move the model to a device, except the modules that the decoder offloads."""
        place(self, device, offloaded=self.offloaded)
