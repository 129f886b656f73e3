"""Clips whose frames have become features, in the order of time and in others, for probes to learn from."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from vtok.common.finite import check_finite
from vtok.common.hashing import stable_hash
from vtok.data import ClipSample
from vtok.evaluation.clips import Loaded
from vtok.model.batch import stack_frames
from vtok.tokeniser import Tokeniser
from vtok.tokeniser.base import pool_grid

# Of the features that are to be reconstructed: cells a side of a frame, and numbers a cell.
CELLS, CHANNELS = 2, 32


@dataclass
class Probed:
    """A split of clips.

    Attributes:
        samples: with features in the place of frames.
        orders: the same clips with their frames in another order, by its name; none of clips with motion vectors.
        targets: what the tokens are asked to give back of each clip, float32 (F, CELLS * CELLS, c): features of F
            frames spread evenly over it, of which each tokeniser sees what it will.
        bad: (path, reason) of broken clips.
    """

    samples: list[ClipSample] = field(default_factory=list)
    orders: dict[str, list[ClipSample]] = field(default_factory=lambda: defaultdict(list))
    targets: list[Tensor] = field(default_factory=list)
    bad: list[tuple[str, str]] = field(default_factory=list)


@torch.no_grad()
def probed(tokeniser: Tokeniser, batches: Iterable[Loaded]) -> Probed:
    """The clips of `batches`, which come with the frames of a `TargetPlan`, through the backbone."""
    result = Probed()
    tokeniser.eval()
    for loaded in batches:
        result.bad += loaded.bad
        samples = loaded.samples
        result.samples += extracted(tokeniser, samples)
        # Motion vectors are those of the file; of its frames in another order there are none.
        has_vectors = any(sample.vectors is not None for sample in samples)
        for name, change in () if has_vectors else ORDERS.items():
            result.orders[name] += extracted(tokeniser, [change(sample) for sample in samples])
        result.targets += features_of_targets(tokeniser, samples)
    return result


def extracted(tokeniser: Tokeniser, samples: Sequence[ClipSample]) -> list[ClipSample]:
    """The samples with what `extract` makes of their frames; clips of as many frames together, so that none is padded.

    The trained half of a tokeniser is left to the probes.
    """
    device = next(tokeniser.parameters()).device
    alike: dict[int, list[int]] = defaultdict(list)
    for place, sample in enumerate(samples):
        alike[sample.num_planned].append(place)
    done: dict[int, ClipSample] = {}
    for places in alike.values():
        pooled = tokeniser.extract(stack_frames([samples[place] for place in places]).to(device))
        for tensor in pooled.values():
            check_finite(tensor, what="the features of clips")
        for row, place in enumerate(places):
            features = {name: tensor[row].cpu() for name, tensor in pooled.items()}
            done[place] = replace(samples[place], frames=None, target=None, pooled=features)
    return [done[place] for place in range(len(samples))]


def backwards(sample: ClipSample) -> ClipSample:
    """A clip that runs backwards."""
    assert sample.frames is not None
    return replace(sample, frames=sample.frames.flip(0), timestamps=sample.timestamps[-1] - sample.timestamps.flip(0))


def shuffled(sample: ClipSample) -> ClipSample:
    """A clip whose frames are in an order that follows from its name, never in their own unless there is one alone."""
    assert sample.frames is not None
    number = len(sample.frames)
    generator = torch.Generator().manual_seed(stable_hash("shuffled", sample.clip.id))
    order = torch.randperm(number, generator=generator)
    if torch.equal(order, torch.arange(number)):
        order = order.roll(1)
    return replace(sample, frames=sample.frames[order])


ORDERS: dict[str, Callable[[ClipSample], ClipSample]] = {"reversed": backwards, "shuffled": shuffled}


def features_of_targets(tokeniser: Tokeniser, samples: Sequence[ClipSample]) -> list[Tensor]:
    """Features of the frames in the samples' targets, (F, CELLS * CELLS, c) each, c at most CHANNELS.

    Of wider features it is a random part of so many directions, the same for all tokenisers on a backbone.
    """
    targets = [sample.target for sample in samples if sample.target is not None]
    if not targets:
        return []
    frames = torch.stack(targets).to(next(tokeniser.parameters()).device)
    maps = tokeniser.backbone(frames.flatten(0, 1)).float()
    check_finite(maps, what="the features of clips")
    pooled = pool_grid(maps, min(CELLS, maps.shape[-1])).cpu()
    if pooled.shape[-1] > CHANNELS:
        generator = torch.Generator().manual_seed(0)
        directions = torch.linalg.qr(torch.randn(pooled.shape[-1], CHANNELS, generator=generator)).Q
        pooled = pooled @ directions
    return list(pooled.unflatten(0, (len(targets), -1)))
