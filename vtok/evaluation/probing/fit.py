"""Training a probe together with the trained half of a tokeniser."""

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
    """A probe on a tokeniser: call `fit`, then `predict`.

    Args:
        tokeniser: the tokeniser; the probe uses its backbone and a copy of the other modules.
        head: the probe's module.
        tuned: train the tokeniser's trained half with the probe, as training with a language model would; False: the
            tokens stay as they are.
    """

    def __init__(self, tokeniser: Tokeniser, head: nn.Module, *, tuned: bool) -> None:
        device = tokeniser.device
        self.tokeniser = copy.deepcopy(tokeniser, {id(tokeniser.backbone): tokeniser.backbone})
        self.head = head.to(device)
        self.tuned = tuned
        self.device = device

    def fit(self, samples: Sequence[ClipSample], loss: Loss, *, steps: int, seed: int) -> None:
        """Minimise `loss`, a function of outputs and sample indices, in `steps` steps of AdamW."""
        backbone = {id(one) for one in self.tokeniser.backbone.parameters()}
        tuned = [one for one in self.tokeniser.parameters() if one.requires_grad and id(one) not in backbone]
        parameters = [*self.head.parameters(), *(tuned if self.tuned else [])]
        optimiser = torch.optim.AdamW(parameters, lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, total_steps=steps)
        self.head.train()
        order = shuffled_indices(len(samples), seed=seed)
        for _ in range(steps):
            indices = torch.tensor([next(order) for _ in range(min(BATCH, len(samples)))])
            optimiser.zero_grad()
            loss(self.head(self._tokens([samples[index] for index in indices.tolist()])), indices).backward()
            optimiser.step()
            schedule.step()
        self.head.eval()

    @torch.no_grad()
    def predict(self, samples: Sequence[ClipSample]) -> list[Tensor]:
        """The outputs (N, n) for samples, on the CPU.

        Raises:
            UserError: an output is not finite.
        """
        parts = [
            self.head(self._tokens(samples[start : start + BATCH], train=False))
            for start in range(0, len(samples), BATCH)
        ]
        outputs = [torch.cat(each).cpu() for each in zip(*parts, strict=True)]
        for output in outputs:
            check_finite(output, what="the outputs of a probe")
        return outputs

    def _tokens(self, samples: Sequence[ClipSample], *, train: bool = True) -> VideoTokens:
        with torch.set_grad_enabled(train and self.tuned):
            return self.tokeniser.encode_planned(stack_frames(samples).to(self.device))


def shuffled_indices(number: int, *, seed: int) -> Iterator[int]:
    """An endless sequence of the indices below `number`, shuffled anew in each pass."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        yield from torch.randperm(number, generator=generator).tolist()
