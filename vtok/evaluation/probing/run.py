"""Running probes on a tokeniser, and on those of several seeds."""

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch

from vtok.backbone import Backbone
from vtok.common.errors import UserError
from vtok.common.finite import check_metrics
from vtok.data import CachedReader, Clip, ClipDataset, ClipReader, DataSource, LoaderSettings
from vtok.data.plan import EvenPlanner, TargetPlan
from vtok.data.sources.base import Split
from vtok.evaluation.clips import CachedReaderOfTargets, heldout_loader
from vtok.evaluation.held_out import unreadable
from vtok.evaluation.probing.fit import BATCH
from vtok.evaluation.probing.measures import MEASURES, Measure, Probes
from vtok.evaluation.probing.result import ProbeResult
from vtok.evaluation.probing.samples import ORDERS, ProbeSplit, extract_split
from vtok.tokeniser import Tokeniser

log = logging.getLogger(__name__)

# Number of frames of a clip whose features are reconstructed from its tokens.
FRAMES = 8


@dataclass(frozen=True)
class Probing:
    """The probes; an instance is called with a tokeniser and the clips that it has read.

    Attributes:
        steps: number of training steps of each probe.
        train_clips: largest number of training clips.
        test_clips: largest number of test clips.
        tuned: whether the tokeniser's trained half is trained with each probe, see `Probe`.
        measures: what is measured.
    """

    steps: int
    train_clips: int
    test_clips: int
    tuned: bool
    measures: Sequence[Measure] = MEASURES

    def over_seeds(
        self, make: Callable[[int], Tokeniser], source: DataSource, loader: LoaderSettings, seeds: Iterable[int]
    ) -> list[ProbeResult]:
        """Probe the tokenisers that `make` makes of each seed.

        Clips are read and encoded anew only for a tokeniser whose backbone has other weights than the one before.

        Raises:
            UserError: a split has no clips or none that can be read, or features or tokens are not finite.
        """
        results: list[ProbeResult] = []
        read: tuple[Backbone, ProbeSplit, ProbeSplit] | None = None
        for seed in seeds:
            began = time.monotonic()
            tokeniser = make(seed)
            if read is None or not same_weights(read[0], tokeniser.backbone):
                train, test = (self.read(tokeniser, source, loader, split) for split in ("train", "test"))
                read = tokeniser.backbone, train, test
            results.append(self(tokeniser, *read[1:], seed=seed))
            results[-1].seconds = time.monotonic() - began
        return results

    def __call__(self, tokeniser: Tokeniser, train: ProbeSplit, test: ProbeSplit, *, seed: int) -> ProbeResult:
        """Probe a tokeniser.

        Args:
            seed: random seed of the probes.

        Raises:
            UserError: tokens are not finite.
        """
        longest = max(sample.num_planned for sample in (*train.samples, *test.samples))
        result = ProbeResult(tokeniser.planner.num_tokens(longest), (len(train.samples), len(test.samples)))
        probes = Probes(tokeniser, result.tokens, self.steps, self.tuned, seed)
        if "answers" in self.measures:
            result.accuracies |= probes.answers(train.samples, test.samples)
            if not result.accuracies:
                log.warning("the clips have no choice questions whose answers recur: no answers are probed.")
        if "shuffled" in self.measures and train.orders:
            shuffled = probes.answers(train.orders["shuffled"], test.orders["shuffled"])
            result.accuracies |= {f"shuffled/{name}": accuracy for name, accuracy in shuffled.items()}
        if "reconstruction" in self.measures:
            result.numbers |= probes.reconstruction(train, test)
        for order in train.orders if "order" in self.measures else ():
            result.numbers[f"order/distance/{order}"] = probes.order_distance(test.samples, test.orders[order])
            result.accuracies[f"order/accuracy/{order}"] = probes.order_accuracy(train, test, order)
        check_metrics(result.metrics())
        return result

    def read(self, tokeniser: Tokeniser, source: DataSource, loader: LoaderSettings, split: Split) -> ProbeSplit:
        """The clips of a split with the features from which the tokeniser makes its tokens.

        Raises:
            UserError: there are no clips or none that can be read, or features are not finite.
        """
        clips = source.clips(split)[: self.train_clips if split == "train" else self.test_clips]
        if not clips:
            raise UserError(f"data: the data set has no {split} clips to probe with. Add some to its manifest.")
        orders = ORDERS if "order" in self.measures else ("shuffled",) if "shuffled" in self.measures else ()
        dataset = ClipDataset(clips, self._reader(tokeniser, source, clips), seed=0, replace_bad=False)
        batches = heldout_loader(dataset, batch_size=BATCH, num_workers=loader.num_workers)
        read = extract_split(tokeniser, batches, orders=orders)
        if not read.samples:
            raise unreadable(len(clips), read.bad)
        for label, reason in read.bad:
            log.warning("left out: %s: %s", label, reason)
        return read

    def _reader(self, tokeniser: Tokeniser, source: DataSource, clips: Sequence[Clip]) -> ClipReader:
        """A reader of the planned frames, and of those whose features are reconstructed."""
        reconstructed = "reconstruction" in self.measures
        if source.cache is None:
            target = TargetPlan(FRAMES, source.clip.size) if reconstructed else None
            return source.frame_reader(tokeniser.planner, target)
        planned, targets = (CachedReader(source.cache, each) for each in (tokeniser.planner, EvenPlanner(FRAMES)))
        for each in (planned, targets) if reconstructed else (planned,):
            each.check(clips, files=True)
        return CachedReaderOfTargets(planned=planned, targets=targets) if reconstructed else planned


def same_weights(one: Backbone, other: Backbone) -> bool:
    """Whether two backbones have the same parameters and statistics."""
    first, second = one.state_dict(), other.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)
