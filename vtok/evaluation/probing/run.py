"""Running probes on a tokeniser, and on those of several seeds."""

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch

from vtok.common.errors import UserError
from vtok.common.finite import check_metrics
from vtok.data import CachedReader, Clip, ClipDataset, ClipReader, DataSource, LoaderSettings
from vtok.data.plan import EvenPlanner, TargetPlan
from vtok.data.sources.base import Split
from vtok.evaluation.clips import CachedReaderOfTargets, heldout_loader
from vtok.evaluation.held_out import unreadable
from vtok.evaluation.probing.fit import BATCH
from vtok.evaluation.probing.measures import ORDERS_OF, Measure, Probes
from vtok.evaluation.probing.result import ProbeResult
from vtok.evaluation.probing.samples import ProbeSplit, extract_split
from vtok.tokeniser import Tokeniser

log = logging.getLogger(__name__)

# Number of frames of a clip whose features are reconstructed from its tokens.
FRAMES = 8


@dataclass(frozen=True)
class Probing:
    """Settings of the probes; an instance is called with a tokeniser and two splits from `read`.

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
    measures: Sequence[Measure]

    def probe_seeds(
        self, make: Callable[[int], Tokeniser], source: DataSource, loader: LoaderSettings, seeds: Iterable[int]
    ) -> list[ProbeResult]:
        """Probe the tokenisers that `make` makes of each seed.

        Clips are read anew only if a tokeniser extracts other features from the first ones than the tokeniser before.

        Raises:
            UserError: a split has no clips or none that can be read, features or tokens are not finite, or the clips
                allow none of the measures.
        """
        results: list[ProbeResult] = []
        splits: tuple[ProbeSplit, ProbeSplit] | None = None
        for seed in seeds:
            tokeniser = make(seed)
            if splits is None or not same_features(
                self.read(tokeniser, source, loader, "train", most=BATCH), splits[0]
            ):
                splits = self.read(tokeniser, source, loader, "train"), self.read(tokeniser, source, loader, "test")
            results.append(self(tokeniser, *splits, seed=seed))
        return results

    def __call__(self, tokeniser: Tokeniser, train: ProbeSplit, test: ProbeSplit, *, seed: int) -> ProbeResult:
        """Probe a tokeniser.

        Args:
            tokeniser: the tokeniser.
            train: clips that the probes learn from.
            test: clips that they are measured on.
            seed: random seed of the probes.

        Raises:
            UserError: tokens are not finite, or the clips allow none of the measures.
        """
        began = time.monotonic()
        tokeniser.eval()
        longest = max(sample.num_planned for sample in (*train.samples, *test.samples))
        result = ProbeResult(tokeniser.planner.num_tokens(longest), (len(train.samples), len(test.samples)))
        probes = Probes(tokeniser, result.tokens, self.steps, self.tuned, seed)
        possible = [one for one in self.measures if all(order in train.orders for order in ORDERS_OF.get(one, ()))]
        for one in self.measures:
            if one not in possible:
                log.warning("%s is not measured: clips with motion vectors have no other order.", one)
        if "answers" in possible:
            result.accuracies |= probes.answers(train.samples, test.samples)
        if "shuffled" in possible:
            shuffled = probes.answers(train.orders["random"], test.orders["random"])
            result.accuracies |= {f"shuffled/{name}": accuracy for name, accuracy in shuffled.items()}
        if not result.accuracies and {"answers", "shuffled"} & set(possible):
            log.warning("the clips have no choice questions whose answers recur: no answers are probed.")
        if "reconstruction" in possible:
            result.numbers |= probes.reconstruction(train, test)
        for order in ORDERS_OF["order"] if "order" in possible else ():
            result.numbers[f"order/distance/{order}"] = probes.order_distance(test.samples, test.orders[order])
            result.accuracies[f"order/accuracy/{order}"] = probes.order_accuracy(train, test, order)
        if not result.accuracies and not result.numbers:
            raise UserError(
                f"measures=[{','.join(self.measures)}]: these clips allow none of them. "
                "Use measures=[reconstruction], or clips with questions."
            )
        result.seconds = time.monotonic() - began
        check_metrics(result.metrics())
        return result

    def read(
        self, tokeniser: Tokeniser, source: DataSource, loader: LoaderSettings, split: Split, *, most: int | None = None
    ) -> ProbeSplit:
        """The clips of a split with the features from which the tokeniser makes its tokens.

        Args:
            most: number of clips at the beginning of the split that are read; None: as many as are probed.

        Raises:
            UserError: there are no clips or none that can be read, or features are not finite.
        """
        clips = source.clips(split)[: self.train_clips if split == "train" else self.test_clips][:most]
        if not clips:
            raise UserError(f"data: the data set has no {split} clips to probe with. Add some to its manifest.")
        orders = [order for measure in self.measures for order in ORDERS_OF.get(measure, ())]
        dataset = ClipDataset(clips, self._reader(tokeniser, source, clips), seed=0, replace_bad=False)
        batches = heldout_loader(dataset, batch_size=BATCH, num_workers=loader.num_workers)
        read = extract_split(tokeniser, batches, orders=orders)
        if not read.samples:
            raise unreadable(len(clips), read.bad)
        for label, reason in read.bad:
            log.warning("left out: %s: %s", label, reason)
        return read

    def _reader(self, tokeniser: Tokeniser, source: DataSource, clips: Sequence[Clip]) -> ClipReader:
        """A reader of the planned frames, and of those whose features are reconstructed if any are."""
        reconstructed = "reconstruction" in self.measures
        if source.cache is None:
            target = TargetPlan(FRAMES, source.clip.size) if reconstructed else None
            return source.frame_reader(tokeniser.planner, target)
        planned, targets = (CachedReader(source.cache, each) for each in (tokeniser.planner, EvenPlanner(FRAMES)))
        for each in (planned, targets) if reconstructed else (planned,):
            each.check(clips, files=True)
        return CachedReaderOfTargets(planned=planned, targets=targets) if reconstructed else planned


def same_features(first: ProbeSplit, every: ProbeSplit) -> bool:
    """Whether the first clips of a split have the same features as in `every`."""
    pairs = ((one.pooled or {}, other.pooled or {}) for one, other in zip(first.samples, every.samples, strict=False))
    return all(
        one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one) for one, other in pairs
    )
