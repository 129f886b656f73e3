"""Clips and conversations as tensors: what the model is given."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from vtok.data import ClipSample
from vtok.mllm import IGNORED, EncodedChat
from vtok.mllm.base import find_predictors
from vtok.tokeniser import PlannedFrames


@dataclass(frozen=True)
class Text:
    """Token ids of conversations, padded to one length.

    Attributes:
        ids: (B, N).
        labels: (B, N), the ids where an answer is to be predicted, IGNORED elsewhere.
        mask: (B, N), False at padding.
        predictors: (n,), where the next token is one to be predicted: positions in `ids` as one row of B * N. They are
            found on the CPU, where to count them does not wait for a device.
    """

    ids: Tensor
    labels: Tensor
    mask: Tensor
    predictors: Tensor

    @classmethod
    def of(cls, ids: Tensor, labels: Tensor, mask: Tensor) -> "Text":
        """With the predictors of the labels, which are on the CPU."""
        return cls(ids=ids, labels=labels, mask=mask, predictors=find_predictors(labels))

    def to(self, device: torch.device) -> "Text":
        return Text(
            ids=self.ids.to(device, non_blocking=True),
            labels=self.labels.to(device, non_blocking=True),
            mask=self.mask.to(device, non_blocking=True),
            predictors=self.predictors.to(device, non_blocking=True),
        )


@dataclass(frozen=True)
class Batch:
    """Clips, and what the objective wants of them.

    Attributes:
        video: the frames that the tokeniser planned.
        text: a conversation about each clip; None where there is no understanding.
        captions: each clip's caption and the places of its tokens after it; None where there is no generation.
        target: what a decoder is to make, (B, F, 3, size, size) uint8 frames or latents of them; None where none is
            trained.
        prompts: the words of the captions, "" where one is left out, for decoders that read them themselves; None where
            there is no generation.
        bad: (path, reason) of files that were replaced.
    """

    video: PlannedFrames
    text: Text | None
    captions: Text | None = None
    target: Tensor | None = None
    prompts: tuple[str, ...] | None = None
    bad: tuple[tuple[str, str], ...] = ()

    def __len__(self) -> int:
        """Number of clips."""
        return len(self.video.mask)

    def to(self, device: torch.device) -> "Batch":
        return Batch(
            video=self.video.to(device),
            text=None if self.text is None else self.text.to(device),
            captions=None if self.captions is None else self.captions.to(device),
            target=None if self.target is None else self.target.to(device, non_blocking=True),
            prompts=self.prompts,
            bad=self.bad,
        )

    def counts(self) -> dict[str, int]:
        """Over how many things each loss is a mean: answer tokens, video tokens, clips."""
        return {
            "under": 0 if self.text is None else len(self.text.predictors),
            "visLM": 0 if self.captions is None else len(self.captions.predictors),
            "dec": 0 if self.target is None else len(self.target),
        }


def stack_frames(samples: Sequence[ClipSample]) -> PlannedFrames:
    """Samples of one frame size; those of fewer frames are padded with black ones at the end.

    Of samples with features these are stacked instead, padded at the end likewise.
    """
    pooled = [sample.pooled for sample in samples if sample.pooled is not None]
    frames = [sample.frames for sample in samples if sample.frames is not None]
    vectors = [sample.vectors for sample in samples if sample.vectors is not None]
    lengths = torch.tensor([sample.num_planned for sample in samples])
    return PlannedFrames(
        frames=None if pooled else pad_sequence(frames, batch_first=True),
        key=torch.tensor([sample.key for sample in samples]),
        mask=torch.arange(int(lengths.max())) < lengths.unsqueeze(1),
        timestamps=pad_sequence([sample.timestamps for sample in samples], batch_first=True),
        vectors=pad_sequence(vectors, batch_first=True) if vectors else None,
        pooled=stack_pooled(pooled) if pooled else None,
    )


def stack_pooled(pooled: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Features of clips, by name; `order` is padded with the positions of the padded frames, as `key_first` has it."""
    stacked = {name: pad_sequence([one[name] for one in pooled], batch_first=True) for name in pooled[0]}
    if "order" in stacked:
        for row, one in enumerate(pooled):
            number = len(one["order"])
            stacked["order"][row, number:] = torch.arange(number, stacked["order"].shape[1])
    return stacked


def stack_targets(samples: Sequence[ClipSample]) -> Tensor | None:
    """The frames that a decoder is to make, (B, F, 3, size, size) uint8; None where the samples have none."""
    targets = [sample.target for sample in samples if sample.target is not None]
    return torch.stack(targets) if targets else None


def stack_latents(samples: Sequence[ClipSample]) -> Tensor | None:
    """What a decoder's VAE made of the frames in the target, (B, C, f, h, w); None where the samples have none."""
    latents = [sample.latents for sample in samples if sample.latents is not None]
    return torch.stack(latents) if latents else None


def stack_text(chats: Sequence[EncodedChat], *, pad_id: int, side: str = "right") -> Text:
    """Conversations padded on one side: "right" for training and scoring, "left" to go on writing."""
    longest = max(len(chat.ids) for chat in chats)
    ids = torch.full((len(chats), longest), pad_id)
    labels = torch.full((len(chats), longest), IGNORED)
    mask = torch.zeros(len(chats), longest, dtype=torch.bool)
    for row, chat in enumerate(chats):
        start = longest - len(chat.ids) if side == "left" else 0
        here = slice(start, start + len(chat.ids))
        ids[row, here] = torch.tensor(chat.ids)
        labels[row, here] = torch.tensor(chat.labels)
        mask[row, here] = True
    return Text.of(ids, labels, mask)


def to_left(states: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Of states (B, N, D) those where mask (B, N) is True, moved to the left, (B, n, D), and where they are, (B, n)."""
    numbers = mask.sum(1, keepdim=True)
    there = torch.arange(int(numbers.max()), device=mask.device) < numbers
    moved = states.new_zeros(*there.shape, states.shape[-1])
    moved[there] = states[mask]
    return moved, there
