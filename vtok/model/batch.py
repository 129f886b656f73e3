"""The model's input: clips and conversations as tensors."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from vtok.data import ClipSample
from vtok.data.frame_maps import stack_maps
from vtok.mllm import IGNORED, ChatTokeniser, EncodedChat
from vtok.mllm.base import find_predictors
from vtok.tokeniser import PlannedFrames


@dataclass(frozen=True)
class Text:
    """Token ids of conversations, padded to one length.

    Attributes:
        ids: (B, N).
        targets: (B, N), the id to predict after each token, or IGNORED.
        mask: (B, N), False at padding.
        predictors: (n,), places of the targets in the flattened `ids`. They are found on the CPU, so that counting them
            does not wait for a device.
        turn: (B, N), the turn of each token, see `EncodedChat`; 0 at padding; None: a row is one conversation.
        seen_until: (B, N), see `EncodedChat`; 0 at padding; None: a row is one conversation.
    """

    ids: Tensor
    targets: Tensor
    mask: Tensor
    predictors: Tensor
    turn: Tensor | None = None
    seen_until: Tensor | None = None

    @classmethod
    def of(
        cls, ids: Tensor, targets: Tensor, mask: Tensor, *, turn: Tensor | None = None, seen_until: Tensor | None = None
    ) -> "Text":
        """A text with the predictors of `targets`, which must be on the CPU."""
        return cls(
            ids=ids, targets=targets, mask=mask, predictors=find_predictors(targets), turn=turn, seen_until=seen_until
        )

    def question(self, video_id: int) -> Tensor:
        """Where a row's first question is, (B, N): after the last video token, and before the first answer.

        The words that the chat template writes between these count. An answer never does.
        """
        from_here = (self.ids == video_id).flip(1).cumsum(1).flip(1)
        predicts = self.targets != IGNORED
        return self.mask & (from_here == 0) & (predicts.cumsum(1) == predicts)

    def to(self, device: torch.device) -> "Text":
        return self.moved(partial(Tensor.to, device=device, non_blocking=True))

    def moved(self, move: Callable[[Tensor], Tensor]) -> "Text":
        """The same text with each tensor moved by a function."""
        return Text(**{name: move(one) for name, one in vars(self).items() if one is not None})


@dataclass(frozen=True)
class Batch:
    """Clips, and the texts and targets that the objective needs.

    Attributes:
        video: planned frames of the tokeniser.
        text: the questions about each clip and their answers; None: the model does not learn understanding.
        clip_of_row: (R,), the clip of each of R rows of one question, if a clip has a row for each; None: row i is
            about clip i.
        captions: the caption of each clip, followed by the places of its video tokens; None: the model does not learn
            generation.
        target: target of the decoder, (B, F, 3, size, size) uint8 frames or their latents; None: no decoder is trained.
        prompts: text of the captions, "" if it is dropped, for decoders that read it; None: the model does not learn
            generation.
        bad: (label, reason) of clips that were replaced.
    """

    video: PlannedFrames
    text: Text | None
    clip_of_row: Tensor | None = None
    captions: Text | None = None
    target: Tensor | None = None
    prompts: tuple[str, ...] | None = None
    bad: tuple[tuple[str, str], ...] = ()

    def __len__(self) -> int:
        """Number of clips."""
        return len(self.video.mask)

    def to(self, device: torch.device) -> "Batch":
        return self.moved(partial(Tensor.to, device=device, non_blocking=True))

    def pin_memory(self) -> "Batch":
        """The batch in pinned memory, from which `to` copies to a GPU while the host goes on; DataLoader calls it."""
        return self.moved(Tensor.pin_memory)

    def moved(self, move: Callable[[Tensor], Tensor]) -> "Batch":
        """The same batch with each tensor moved by a function."""
        return Batch(
            video=self.video.moved(move),
            text=None if self.text is None else self.text.moved(move),
            clip_of_row=None if self.clip_of_row is None else move(self.clip_of_row),
            captions=None if self.captions is None else self.captions.moved(move),
            target=None if self.target is None else move(self.target),
            prompts=self.prompts,
            bad=self.bad,
        )

    def counts(self) -> dict[str, int]:
        """The number of items that each loss is a mean over: answer tokens, video tokens, clips."""
        return {
            "under": 0 if self.text is None else len(self.text.predictors),
            "visLM": 0 if self.captions is None else len(self.captions.predictors),
            "dec": 0 if self.target is None else len(self.target),
        }


def stack_frames(samples: Sequence[ClipSample]) -> PlannedFrames:
    """Stack samples of one frame size; samples with fewer frames are padded at the end with black frames.

    If the samples have feature maps from a cache, or extracted features, these are stacked and padded instead.
    """
    maps = [sample.maps for sample in samples if sample.maps is not None]
    pooled = [sample.pooled for sample in samples if sample.pooled is not None]
    frames = [sample.frames for sample in samples if sample.frames is not None]
    vectors = [sample.vectors for sample in samples if sample.vectors is not None]
    lengths = torch.tensor([sample.num_planned for sample in samples])
    return PlannedFrames(
        frames=None if maps or pooled else pad_sequence(frames, batch_first=True),
        key=torch.tensor([sample.key for sample in samples]),
        mask=torch.arange(int(lengths.max())) < lengths.unsqueeze(1),
        timestamps=pad_sequence([sample.timestamps for sample in samples], batch_first=True),
        vectors=pad_sequence(vectors, batch_first=True) if vectors else None,
        maps=stack_maps(maps) if maps and not pooled else None,
        pooled=stack_pooled(pooled) if pooled else None,
    )


def stack_pooled(pooled: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Stack the features of clips, by name; `order` is padded with the positions of the padded frames."""
    stacked = {name: pad_sequence([one[name] for one in pooled], batch_first=True) for name in pooled[0]}
    if "order" in stacked:
        for row, one in enumerate(pooled):
            number = len(one["order"])
            stacked["order"][row, number:] = torch.arange(number, stacked["order"].shape[1])
    return stacked


def stack_targets(samples: Sequence[ClipSample]) -> Tensor | None:
    """The target frames of a decoder, (B, F, 3, size, size) uint8; None if the samples have none."""
    targets = [sample.target for sample in samples if sample.target is not None]
    return torch.stack(targets) if targets else None


def stack_latents(samples: Sequence[ClipSample]) -> Tensor | None:
    """The target latents of a decoder, (B, C, f, h, w), from a cache; None if the samples have none."""
    latents = [sample.latents for sample in samples if sample.latents is not None]
    return torch.stack(latents) if latents else None


def stack_text(chats: Sequence[EncodedChat], *, pad_id: int, side: str = "right") -> Text:
    """Conversations padded on one side: "right" for training and scoring, "left" for generation.

    Either all of them have branches or none. Rows of one branch each need no mask.
    """
    longest = max(len(chat.ids) for chat in chats)
    ids = torch.full((len(chats), longest), pad_id)
    targets = torch.full((len(chats), longest), IGNORED)
    mask = torch.zeros(len(chats), longest, dtype=torch.bool)
    several = any(chat.turn is not None and max(chat.turn, default=0) > 1 for chat in chats)
    turn, seen_until = (torch.zeros(len(chats), longest, dtype=torch.long) if several else None for _ in range(2))
    for row, chat in enumerate(chats):
        start = longest - len(chat.ids) if side == "left" else 0
        here = slice(start, start + len(chat.ids))
        ids[row, here] = torch.tensor(chat.ids)
        targets[row, here] = torch.tensor(chat.targets)
        mask[row, here] = True
        if turn is not None and seen_until is not None:
            turn[row, here], seen_until[row, here] = torch.tensor(chat.turn), torch.tensor(chat.seen_until)
    return Text.of(ids, targets, mask, turn=turn, seen_until=seen_until)


def stack_prompts(chat: ChatTokeniser, prompts: Sequence[str], *, numbers: Sequence[int]) -> Text:
    """One prompt about each video of `numbers` tokens, padded on the left for generation; no token is predicted."""
    encoded = [
        chat.encode_prompt(prompt, num_video_tokens=number) for prompt, number in zip(prompts, numbers, strict=True)
    ]
    chats = [EncodedChat(ids, [IGNORED] * len(ids)) for ids in encoded]
    return stack_text(chats, pad_id=chat.pad_id, side="left")


def to_left(states: Tensor, mask: Tensor, *, length: int) -> tuple[Tensor, Tensor]:
    """The states at which a mask is True, moved to the left; nothing waits for the device.

    Args:
        states: (B, N, D).
        mask: (B, N).
        length: n, the largest number of True values in a row.

    Returns:
        The states (B, n, D), 0 at padding, and their mask (B, n).
    """
    order = mask.byte().argsort(dim=1, descending=True, stable=True)[:, :length]
    there = torch.arange(length, device=mask.device) < mask.sum(1, keepdim=True)
    moved = states.gather(1, order.unsqueeze(-1).expand(-1, -1, states.shape[-1]))
    return moved.masked_fill(~there.unsqueeze(-1), 0.0), there
