"""Training a probe, and with it the half of a tokeniser that is trained."""

import copy
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn

from vtok.common.finite import check_finite
from vtok.data import ClipSample
from vtok.model.batch import stack_frames
from vtok.tokeniser import Tokeniser, VideoTokens

BATCH, LEARNING_RATE, WEIGHT_DECAY = 64, 3e-3, 0.01

Loss = Callable[[list[Tensor], Tensor], Tensor]


class Probe:
    """A probe on a tokeniser: fit it, then ask it.

    Args:
        tokeniser: the backbone has done its part already; the probe works on a copy of the rest.
        read: the probe's module.
        tuned: whether the tokeniser's trained half is trained with the probe, as a language model would; else its
            tokens are taken as they are.
    """

    def __init__(self, tokeniser: Tokeniser, read: nn.Module, *, tuned: bool) -> None:
        device = next(tokeniser.parameters()).device
        self.tokeniser = copy.deepcopy(tokeniser, {id(tokeniser.backbone): tokeniser.backbone})
        self.read = read.to(device)
        self.tuned = tuned
        self.device = device

    def fit(self, samples: Sequence[ClipSample], loss: Loss, *, steps: int, seed: int) -> None:
        """Lower `loss` of outputs and places of the samples in so many steps of AdamW."""
        backbone = {id(one) for one in self.tokeniser.backbone.parameters()}
        tuned = [one for one in self.tokeniser.parameters() if one.requires_grad and id(one) not in backbone]
        parameters = [*self.read.parameters(), *(tuned if self.tuned else [])]
        optimiser = torch.optim.AdamW(parameters, lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, total_steps=steps)
        self.read.train()
        places = endless(len(samples), seed=seed)
        for _ in range(steps):
            place = torch.tensor([next(places) for _ in range(min(BATCH, len(samples)))])
            optimiser.zero_grad()
            loss(self.read(self._tokens([samples[index] for index in place.tolist()])), place).backward()
            optimiser.step()
            schedule.step()
        self.read.eval()

    @torch.no_grad()
    def ask(self, samples: Sequence[ClipSample]) -> list[Tensor]:
        """The outputs (N, n) for samples, on the CPU; raises UserError where they are not finite numbers."""
        parts = [
            self.read(self._tokens(samples[start : start + BATCH], train=False))
            for start in range(0, len(samples), BATCH)
        ]
        outputs = [torch.cat(each).cpu() for each in zip(*parts, strict=True)]
        for output in outputs:
            check_finite(output, what="the outputs of a probe")
        return outputs

    def _tokens(self, samples: Sequence[ClipSample], *, train: bool = True) -> VideoTokens:
        with torch.set_grad_enabled(train and self.tuned):
            return self.tokeniser.encode_planned(stack_frames(samples).to(self.device))


def endless(number: int, *, seed: int) -> Iterator[int]:
    """Places below `number` in random order, again and again."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        yield from torch.randperm(number, generator=generator).tolist()
