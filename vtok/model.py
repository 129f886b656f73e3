"""The whole: a tokeniser, a language model and the losses that train them together (VTok, section 3)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vtok.batch import Batch, Text, stack_text
from vtok.decoder import NoDecoder
from vtok.mllm import IGNORED, EncodedChat, LanguageModel, VisualProjector
from vtok.tokeniser import PlannedFrames, Tokeniser, VideoTokens

DESCRIBE = "describe the video."


@dataclass(frozen=True)
class Understanding:
    """The understanding branch alone: L = lambda_under L_under."""

    lambda_under: float = 1.0


class VideoLanguageModel(nn.Module):
    """Video to tokens to text.

    Args:
        tokeniser: clips to video tokens.
        mllm: the language model; phi_vis is made to fit between the two.
        decoder: hidden states to video, or NoDecoder.
        objective: the weights of the losses.
    """

    def __init__(
        self, *, tokeniser: Tokeniser, mllm: LanguageModel, decoder: NoDecoder, objective: Understanding
    ) -> None:
        super().__init__()
        self.tokeniser = tokeniser
        self.mllm = mllm
        self.decoder = decoder
        self.projector = VisualProjector(token_dim=tokeniser.token_dim, width=mllm.width)
        self.objective = objective

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Losses by name: `under` (mean over the answers' tokens) and `loss`, their weighted sum."""
        video = self.tokeniser.encode_planned(batch.video)
        logprobs = self.text_logprobs(video, batch.text)
        under = -logprobs.sum() / (batch.text.labels[:, 1:] != IGNORED).sum().clamp(min=1)
        return {"under": under, "loss": self.objective.lambda_under * under}

    def text_logprobs(self, video: VideoTokens, text: Text) -> Tensor:
        """Log-probability (B, N - 1) of each answer token, 0 elsewhere; row by row one text to one video."""
        embeddings = self.mllm.embed(text.ids, self.projector(video.tokens), video.mask)
        return self.mllm.answer_logprobs(self.mllm.hidden_states(embeddings, text.mask), text.labels)

    @torch.no_grad()
    def describe(self, video: PlannedFrames, prompts: Sequence[str], *, max_new_tokens: int = 64) -> list[str]:
        """The answer to one prompt a clip, written greedily."""
        tokens = self.tokeniser.encode_planned(video)
        chats = [
            EncodedChat(ids := self.mllm.chat.encode_prompt(prompt, num_video_tokens=int(mask.sum())), ids)
            for prompt, mask in zip(prompts, tokens.mask, strict=True)
        ]
        text = stack_text(chats, pad_id=self.mllm.chat.pad_id, side="left").to(tokens.tokens.device)
        embeddings = self.mllm.embed(text.ids, self.projector(tokens.tokens), tokens.mask)
        return self.mllm.generate(embeddings, text.mask, max_new_tokens=max_new_tokens)


def select(video: VideoTokens, rows: Tensor) -> VideoTokens:
    """The clips `rows`, repeats allowed: one clip's tokens for many texts."""
    return VideoTokens(
        tokens=video.tokens[rows], kind=video.kind, timestamps=video.timestamps[rows], mask=video.mask[rows]
    )
