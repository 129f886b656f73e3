"""Features of clips for the probes, with the frames in their own and in other orders."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from vtok.common.finite import check_finite
from vtok.common.hashing import stable_hash
from vtok.data import ClipSample
from vtok.evaluation.clips import HeldoutBatch
from vtok.model.batch import stack_frames
from vtok.tokeniser import Tokeniser
from vtok.tokeniser.base import pool_grid

# Size of the features that are reconstructed: CELLS x CELLS cells of a frame, CHANNELS numbers for each cell.
CELLS, CHANNELS = 2, 32


@dataclass
class ProbeSplit:
    """The clips of a split.

    Attributes:
        samples: samples with features instead of frames.
        orders: the same clips with their frames in each of the orders that were asked for; empty for clips with motion
            vectors.
        targets: features to reconstruct from the tokens of each clip, float32 (F, CELLS * CELLS, c), of F frames evenly
            spaced over the clip, which need not be those that the tokeniser samples.
        bad: (label, reason) of each broken clip.
    """

    samples: list[ClipSample] = field(default_factory=list)
    orders: dict[str, list[ClipSample]] = field(default_factory=dict)
    targets: list[Tensor] = field(default_factory=list)
    bad: list[tuple[str, str]] = field(default_factory=list)


@torch.no_grad()
def extract_split(tokeniser: Tokeniser, batches: Iterable[HeldoutBatch], *, orders: Collection[str]) -> ProbeSplit:
    """Run clips through the backbone, also with their frames in other orders, and the target frames that they have."""
    result = ProbeSplit()
    tokeniser.eval()
    for batch in batches:
        result.bad += batch.bad
        samples = batch.samples
        result.samples += extract_features(tokeniser, samples)
        # Motion vectors come from the file, and there are none for frames in another order.
        has_vectors = any(sample.vectors is not None for sample in samples)
        for name in () if has_vectors else orders:
            changed = extract_features(tokeniser, [ORDERS[name](sample) for sample in samples])
            result.orders.setdefault(name, []).extend(changed)
        result.targets += features_of_targets(tokeniser, samples)
    return result


def extract_features(tokeniser: Tokeniser, samples: Sequence[ClipSample]) -> list[ClipSample]:
    """The samples with the output of the tokeniser's `extract` instead of frames; `project` is not run.

    Clips with the same number of frames are batched together, so no clip is padded.
    """
    device = tokeniser.device
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
            done[place] = replace(
                samples[place], frames=None, target=None, maps=None, target_maps=None, pooled=features
            )
    return [done[place] for place in range(len(samples))]


def reverse_frames(sample: ClipSample) -> ClipSample:
    """The clip with its frames in reverse order."""
    order = torch.arange(sample.num_planned).flip(0)
    return replace(in_order(sample, order), timestamps=sample.timestamps[-1] - sample.timestamps.flip(0))


def shuffle_frames(sample: ClipSample) -> ClipSample:
    """The clip with its frames in a random order, seeded by its id; never in their own order if there are several."""
    number = sample.num_planned
    generator = torch.Generator().manual_seed(stable_hash("shuffled", sample.clip.id))
    order = torch.randperm(number, generator=generator)
    if torch.equal(order, torch.arange(number)):
        order = order.roll(1)
    return in_order(sample, order)


def randomise_frames(sample: ClipSample) -> ClipSample:
    """The clip with its frames in a random order, seeded by its id: each order is as likely, its own as well."""
    generator = torch.Generator().manual_seed(stable_hash("random order", sample.clip.id))
    return in_order(sample, torch.randperm(sample.num_planned, generator=generator))


def in_order(sample: ClipSample, order: Tensor) -> ClipSample:
    """The clip with the frames, or the maps of a cache, at positions `order`; the timestamps stay."""
    frames, maps = sample.frames, sample.maps
    return replace(
        sample, frames=None if frames is None else frames[order], maps=None if maps is None else maps.at(order)
    )


ORDERS: dict[str, Callable[[ClipSample], ClipSample]] = {
    "reversed": reverse_frames,
    "shuffled": shuffle_frames,
    "random": randomise_frames,
}


def features_of_targets(tokeniser: Tokeniser, samples: Sequence[ClipSample]) -> list[Tensor]:
    """Features of the samples' target frames, each (F, CELLS * CELLS, c) with c <= CHANNELS.

    Wider features are projected to CHANNELS random directions, which are the same for all tokenisers of a backbone.
    """
    device = tokeniser.device
    cached = [sample.target_maps.maps for sample in samples if sample.target_maps is not None]
    targets = [sample.target for sample in samples if sample.target is not None]
    if not cached and not targets:
        return []
    if cached:
        number = len(cached)
        maps = tokeniser.backbone.averaged(torch.cat(cached).to(device).float())
    else:
        number = len(targets)
        maps = tokeniser.backbone(torch.stack(targets).to(device).flatten(0, 1)).float()
    check_finite(maps, what="the features of clips")
    pooled = pool_grid(maps, min(CELLS, maps.shape[-1])).cpu()
    if pooled.shape[-1] > CHANNELS:
        generator = torch.Generator().manual_seed(0)
        directions = torch.linalg.qr(torch.randn(pooled.shape[-1], CHANNELS, generator=generator)).Q
        pooled = pooled @ directions
    return list(pooled.unflatten(0, (number, -1)))
