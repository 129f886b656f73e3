"""The probes of a tokeniser, one after the other."""

import logging
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vtok.common.errors import UserError
from vtok.common.finite import check_figures
from vtok.data import Clip, ClipDataset, ClipSample, DataSource, LoaderSettings
from vtok.data.plan import TargetPlan
from vtok.evaluation.accuracy import Tally, cluster_of
from vtok.evaluation.clips import heldout_loader
from vtok.evaluation.held_out import unreadable
from vtok.evaluation.probing.fit import BATCH, Probe
from vtok.evaluation.probing.probes import AttentiveProbe, LinearProbe, placed
from vtok.evaluation.probing.result import ProbeResult
from vtok.evaluation.probing.samples import Probed, probed
from vtok.model.batch import stack_frames
from vtok.tokeniser import Tokeniser

log = logging.getLogger(__name__)

# Frames of a clip whose features the tokens are asked to give back.
FRAMES = 8
# Questions that have more answers are not of the kind that a probe can learn.
MOST_ANSWERS = 100
PENALTIES = tuple(10.0**power for power in range(8))


@dataclass(frozen=True)
class Probing:
    """Settings of the probes, and the probes: call it.

    Attributes:
        steps: training steps of each probe.
        train_clips, heldout_clips: how many are used, at most.
        tuned: whether the tokeniser's trained half is trained with each probe, see `Probe`.
        seed: of the probes.
    """

    steps: int
    train_clips: int
    heldout_clips: int
    tuned: bool
    seed: int

    def __call__(self, tokeniser: Tokeniser, source: DataSource, loader: LoaderSettings) -> ProbeResult:
        """Probe a tokeniser on a data set.

        Raises:
            UserError: the data set has no clips of a split, or none that can be read, or features or tokens are not
                finite numbers.
        """
        began = time.monotonic()
        train, heldout = (
            self._read(tokeniser, source, loader, split, number)
            for split, number in (("train", self.train_clips), ("heldout", self.heldout_clips))
        )
        longest = max(sample.num_planned for sample in (*train.samples, *heldout.samples))
        result = ProbeResult(tokeniser.planner.num_tokens(longest), (len(train.samples), len(heldout.samples)))
        probes = Probes(self, tokeniser, result.tokens)
        categories = answers_of([sample.clip for sample in train.samples])
        if not categories:
            log.warning("no question of the clips has choices that come again: the probes of answers are left out.")
        for name, kind in (("linear", LinearProbe), ("attentive", AttentiveProbe)):
            if categories:
                result.tallies |= {f"{name}/{one}": it for one, it in probes.answers(kind, train, heldout, categories)}
        result.numbers |= probes.reconstruction(train, heldout)
        for order in train.orders:
            result.numbers[f"order/distance/{order}"] = probes.distance(heldout.samples, heldout.orders[order])
            result.tallies[f"order/told/{order}"] = probes.told(train, heldout, order)
        result.seconds = time.monotonic() - began
        check_figures(result.metrics())
        return result

    def _read(
        self, tokeniser: Tokeniser, source: DataSource, loader: LoaderSettings, split: str, number: int
    ) -> Probed:
        clips = source.clips(split)[:number]  # type: ignore[arg-type]
        if not clips:
            raise UserError(f"the data set has no {split} clips to probe with.")
        reader = source.frame_reader(tokeniser.planner, TargetPlan(FRAMES, source.clip.size))
        dataset = ClipDataset(clips, reader, seed=0, replace_bad=False)
        read = probed(tokeniser, heldout_loader(dataset, batch_size=BATCH, num_workers=loader.num_workers))
        if not read.samples:
            raise unreadable(len(clips), read.bad)
        for path, reason in read.bad:
            log.warning("left out: %s: %s", path, reason)
        return read


@dataclass(frozen=True)
class Probes:
    """Each of the probes on a tokeniser whose longest clip has so many tokens."""

    settings: Probing
    tokeniser: Tokeniser
    tokens: int

    def answers(
        self, kind: type[LinearProbe | AttentiveProbe], train: Probed, heldout: Probed, categories: dict[str, list[str]]
    ) -> list[tuple[str, Tally]]:
        """Right answers to the questions of each category."""
        labels = labels_of(train.samples, categories)
        probe = self._fit(kind, train.samples, labels, [len(answers) for answers in categories.values()])
        truths = labels_of(heldout.samples, categories)
        tallies = []
        for column, (category, logits) in enumerate(zip(categories, probe.ask(heldout.samples), strict=True)):
            tally, known = Tally(), labels[:, column][labels[:, column] >= 0]
            commonest = int(known.mode().values)
            asked = [answer_of(sample.clip, category) is not None for sample in heldout.samples]
            for row, (guess, truth) in enumerate(zip(logits.argmax(1), truths[:, column], strict=True)):
                if asked[row]:
                    clip = cluster_of(heldout.samples[row].clip)
                    tally.add(bool(guess == truth), float(truth == commonest), clip=clip)
            if tally.total:
                tallies.append((category, tally))
        return tallies

    def reconstruction(self, train: Probed, heldout: Probed) -> dict[str, float]:
        """How much of the features of frames a ridge regression does not find in the tokens as they are.

        Of all frames, and of what has changed in them since the first; the penalty is chosen on training clips.
        """
        from sklearn.linear_model import RidgeCV

        given, asked = (self._places(part.samples) for part in (train, heldout))
        spread = given.std(0, keepdim=True).clamp(min=1e-6)
        figures = {}
        for name, part in (("frames", slice(None)), ("change", slice(1, None))):
            wanted, truth = (
                torch.stack(targets)[:, part] - (torch.stack(targets)[:, :1] if name == "change" else 0.0)
                for targets in (train.targets, heldout.targets)
            )
            ridge = RidgeCV(alphas=PENALTIES).fit((given / spread).numpy(), wanted.flatten(1).numpy())
            guesses = torch.from_numpy(ridge.predict((asked / spread).numpy())).view_as(truth)
            figures[f"reconstruction/{name}"] = unexplained(guesses, truth)
        return figures

    def told(self, train: Probed, heldout: Probed, order: str) -> Tally:
        """How often a probe tells clips in another order from true ones."""
        samples = [*train.samples, *train.orders[order]]
        labels = torch.arange(len(samples)).ge(len(train.samples)).long().unsqueeze(1)
        probe = self._fit(AttentiveProbe, samples, labels, [2])
        tally = Tally()
        for number, asked in enumerate((heldout.samples, heldout.orders[order])):
            for sample, guess in zip(asked, probe.ask(asked)[0].argmax(1), strict=True):
                tally.add(bool(guess == number), 0.5, clip=cluster_of(sample.clip))
        return tally

    @torch.no_grad()
    def distance(self, samples: Sequence[ClipSample], changed: Sequence[ClipSample]) -> float:
        """How far tokens are from those of the same clips changed, over how far they are from those of other clips.

        Clips are compared with the next one that has as many tokens.
        """
        alike: dict[int, list[int]] = {}
        for place, sample in enumerate(samples):
            alike.setdefault(sample.num_planned, []).append(place)
        own, others = [], []
        every, moved = self._places(samples), self._places(changed)
        for places in alike.values():
            tokens = every[places]
            own.append((tokens - moved[places]).norm(dim=1))
            others.append((tokens - tokens.roll(1, 0)).norm(dim=1))
        return float(torch.cat(own).mean() / torch.cat(others).mean().clamp(min=1e-12))

    @torch.no_grad()
    def _places(self, samples: Sequence[ClipSample]) -> Tensor:
        """Tokens of all samples, side by side and with zeros where a clip has fewer, (N, tokens * d)."""
        device, parts = next(self.tokeniser.parameters()).device, []
        for start in range(0, len(samples), BATCH):
            video = self.tokeniser.encode_planned(stack_frames(samples[start : start + BATCH]).to(device))
            parts.append(placed(video, self.tokens).cpu())
        return torch.cat(parts)

    def _fit(
        self,
        kind: type[LinearProbe | AttentiveProbe],
        samples: Sequence[ClipSample],
        labels: Tensor,
        numbers: Sequence[int],
    ) -> Probe:
        """A probe that is trained to say labels (N, outputs), -1 where there is none."""
        torch.manual_seed(self.settings.seed)
        read = kind(tokens=self.tokens, token_dim=self.tokeniser.token_dim, outputs=numbers)
        probe = Probe(self.tokeniser, read, tuned=self.settings.tuned)
        there = labels.to(next(self.tokeniser.parameters()).device)

        def loss(outputs: list[Tensor], place: Tensor) -> Tensor:
            chosen = there[place.to(there.device)]
            sums = [
                nn.functional.cross_entropy(logits, chosen[:, column], ignore_index=-1, reduction="sum")
                for column, logits in enumerate(outputs)
            ]
            return torch.stack(sums).sum() / (chosen >= 0).sum().clamp(min=1)

        probe.fit(samples, loss, steps=self.settings.steps, seed=self.settings.seed)
        return probe


def unexplained(guesses: Tensor, truth: Tensor) -> float:
    """Squared error over variance, of (N, ...)."""
    return float((guesses - truth).square().mean() / (truth - truth.mean(0)).square().mean().clamp(min=1e-12))


def answer_of(clip: Clip, category: str) -> str | None:
    """The true answer to a clip's first question with choices in a category; None where there is none."""
    return next((one.answer for one in clip.questions if one.kind == "choice" and one.category == category), None)


def answers_of(clips: Sequence[Clip]) -> dict[str, list[str]]:
    """By category the answers that clips have in common, two or more, in the order of the alphabet."""
    counts: dict[str, Counter[str]] = {}
    for clip in clips:
        for category in {one.category for one in clip.questions if one.kind == "choice"}:
            counts.setdefault(category, Counter())[str(answer_of(clip, category))] += 1
    kept = {
        category: sorted(counter)
        for category, counter in sorted(counts.items())
        if 2 <= len(counter) <= MOST_ANSWERS and counter.total() >= 2 * len(counter)
    }
    return kept


def labels_of(samples: Sequence[ClipSample], categories: dict[str, list[str]]) -> Tensor:
    """The number of each sample's answer in each category, int64 (N, categories); -1 where there is none."""
    rows = []
    for sample in samples:
        given = [answer_of(sample.clip, category) for category in categories]
        rows.append(
            [
                answers.index(answer) if answer in answers else -1
                for answer, answers in zip(given, categories.values(), strict=True)
            ]
        )
    return torch.tensor(rows)
