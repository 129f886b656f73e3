"""What is measured with probes on a tokeniser's tokens."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from vtok.data import Clip, ClipSample
from vtok.evaluation.accuracy import Accuracy
from vtok.evaluation.answers import Answer, answer_about
from vtok.evaluation.probing.fit import BATCH, Probe
from vtok.evaluation.probing.probes import AttentiveProbe, LinearProbe, flatten_tokens
from vtok.evaluation.probing.samples import ProbeSplit
from vtok.model.batch import stack_frames
from vtok.tokeniser import Tokeniser

Measure = Literal["answers", "shuffled", "reconstruction", "order"]
# The orders of frames that measures need, names of `samples.ORDERS`. Random ones include a clip's own: if they did not,
# two frames would always be swapped, which shows their order.
ORDERS_OF: dict[Measure, tuple[str, ...]] = {"shuffled": ("random",), "order": ("reversed", "shuffled")}
# Categories with more answers are left out: there are too few clips for each answer.
MOST_ANSWERS = 100
PENALTIES = tuple(10.0**power for power in range(8))


@dataclass(frozen=True)
class Probes:
    """What is measured of one tokeniser, with one seed.

    Attributes:
        tokeniser: the tokeniser.
        tokens: number of tokens of the longest clip.
        steps: number of training steps of each probe.
        tuned: whether the tokeniser's trained half is trained with each probe, see `Probe`.
        seed: random seed.
    """

    tokeniser: Tokeniser
    tokens: int
    steps: int
    tuned: bool
    seed: int

    def answers(self, train: Sequence[ClipSample], test: Sequence[ClipSample]) -> dict[str, Accuracy]:
        """The accuracies on choice questions, by probe and category, such as `linear/colour`."""
        categories = recurring_answers([sample.clip for sample in train])
        kinds = (("linear", LinearProbe), ("attentive", AttentiveProbe)) if categories else ()
        return {
            f"{name}/{category}": accuracy
            for name, kind in kinds
            for category, accuracy in self.answers_of(kind, train, test, categories)
        }

    def answers_of(
        self,
        kind: type[LinearProbe | AttentiveProbe],
        train: Sequence[ClipSample],
        test: Sequence[ClipSample],
        categories: dict[str, list[str]],
    ) -> list[tuple[str, Accuracy]]:
        """The accuracy of one probe on the choice questions of each category."""
        labels = labels_of(train, categories)
        probe = self._fit(kind, train, labels, [len(answers) for answers in categories.values()])
        accuracies = []
        for column, (category, logits) in enumerate(zip(categories, probe.predict(test), strict=True)):
            commonest = categories[category][int(labels[:, column][labels[:, column] >= 0].mode().values)]
            answers = []
            for sample, guess in zip(test, logits.argmax(1).tolist(), strict=True):
                if (truth := answer_of(sample.clip, category)) is not None:
                    guessed = categories[category][guess]
                    answers.append(probe_answer(sample.clip, category, guessed, truth, float(truth == commonest)))
            if answers:
                accuracies.append((category, Accuracy(answers)))
        return accuracies

    def reconstruction(self, train: ProbeSplit, test: ProbeSplit) -> dict[str, float]:
        """Unexplained variance of frame features in a ridge regression on the tokens.

        It is measured for the features of all frames, and for their change since the first frame. The penalty is chosen
        on the training clips.
        """
        from sklearn.linear_model import RidgeCV

        given, asked = (self._flat_tokens(part.samples) for part in (train, test))
        spread = given.std(0, keepdim=True).clamp(min=1e-6)
        metrics = {}
        for name, part in (("frames", slice(None)), ("change", slice(1, None))):
            wanted, truth = (
                torch.stack(targets)[:, part] - (torch.stack(targets)[:, :1] if name == "change" else 0.0)
                for targets in (train.targets, test.targets)
            )
            ridge = RidgeCV(alphas=PENALTIES).fit((given / spread).numpy(), wanted.flatten(1).numpy())
            guesses = torch.from_numpy(ridge.predict((asked / spread).numpy())).view_as(truth)
            metrics[f"reconstruction/{name}"] = unexplained_variance(guesses, truth)
        return metrics

    def order_accuracy(self, train: ProbeSplit, test: ProbeSplit, order: str) -> Accuracy:
        """The accuracy of a probe that separates true clips from clips with their frames in another order."""
        samples = [*train.samples, *train.orders[order]]
        labels = torch.arange(len(samples)).ge(len(train.samples)).long().unsqueeze(1)
        probe = self._fit(AttentiveProbe, samples, labels, [2])
        names = ("true", order)
        return Accuracy(
            [
                probe_answer(sample.clip, "order", names[guess], truth, 0.5)
                for truth, asked in zip(names, (test.samples, test.orders[order]), strict=True)
                for sample, guess in zip(asked, probe.predict(asked)[0].argmax(1).tolist(), strict=True)
            ]
        )

    @torch.no_grad()
    def order_distance(self, samples: Sequence[ClipSample], changed: Sequence[ClipSample]) -> float:
        """Distance between the tokens of clips and of their changed versions, over the distance to another clip.

        The other clip is the next one with the same number of tokens.
        """
        alike: dict[int, list[int]] = {}
        for place, sample in enumerate(samples):
            alike.setdefault(sample.num_planned, []).append(place)
        own, others = [], []
        every, moved = self._flat_tokens(samples), self._flat_tokens(changed)
        for places in alike.values():
            tokens = every[places]
            own.append((tokens - moved[places]).norm(dim=1))
            others.append((tokens - tokens.roll(1, 0)).norm(dim=1))
        return float(torch.cat(own).mean() / torch.cat(others).mean().clamp(min=1e-12))

    @torch.no_grad()
    def _flat_tokens(self, samples: Sequence[ClipSample]) -> Tensor:
        """Concatenated tokens of all samples, (N, tokens * d), with zeros for missing tokens."""
        device, parts = self.tokeniser.device, []
        for start in range(0, len(samples), BATCH):
            video = self.tokeniser.encode_planned(stack_frames(samples[start : start + BATCH]).to(device))
            parts.append(flatten_tokens(video, self.tokens).cpu())
        return torch.cat(parts)

    def _fit(
        self,
        kind: type[LinearProbe | AttentiveProbe],
        samples: Sequence[ClipSample],
        labels: Tensor,
        numbers: Sequence[int],
    ) -> Probe:
        """A probe trained to predict labels (N, outputs); -1 means no label."""
        torch.manual_seed(self.seed)
        head = kind(tokens=self.tokens, token_dim=self.tokeniser.token_dim, outputs=numbers)
        probe = Probe(self.tokeniser, head, tuned=self.tuned)
        device_labels = labels.to(self.tokeniser.device)

        def loss(outputs: list[Tensor], indices: Tensor) -> Tensor:
            chosen = device_labels[indices.to(device_labels.device)]
            sums = [
                nn.functional.cross_entropy(logits, chosen[:, column], ignore_index=-1, reduction="sum")
                for column, logits in enumerate(outputs)
            ]
            return torch.stack(sums).sum() / (chosen >= 0).sum().clamp(min=1)

        probe.fit(samples, loss, steps=self.steps, seed=self.seed)
        return probe


def probe_answer(clip: Clip, category: str, answer: str, truth: str, chance: float) -> Answer:
    return answer_about(
        clip,
        category=category,
        kind="probe",
        question="",
        answer=answer,
        truth=truth,
        right=answer == truth,
        chance=chance,
    )


def unexplained_variance(guesses: Tensor, truth: Tensor) -> float:
    """Squared error over the variance of `truth`, both (N, ...)."""
    return float((guesses - truth).square().mean() / (truth - truth.mean(0)).square().mean().clamp(min=1e-12))


def answer_of(clip: Clip, category: str) -> str | None:
    """The true answer to a clip's first choice question in a category; None if it has none."""
    return next((one.answer for one in clip.questions if one.kind == "choice" and one.category == category), None)


def recurring_answers(clips: Sequence[Clip]) -> dict[str, list[str]]:
    """Sorted answers by category, for categories with 2 to MOST_ANSWERS answers that recur across clips."""
    counts: dict[str, Counter[str]] = {}
    for clip in clips:
        for category in {one.category for one in clip.questions if one.kind == "choice"}:
            counts.setdefault(category, Counter())[str(answer_of(clip, category))] += 1
    recurring = {
        category: sorted(counter)
        for category, counter in sorted(counts.items())
        if 2 <= len(counter) <= MOST_ANSWERS and counter.total() >= 2 * len(counter)
    }
    return recurring


def labels_of(samples: Sequence[ClipSample], categories: dict[str, list[str]]) -> Tensor:
    """Index of each sample's answer in each category, int64 (N, categories); -1 if it has none."""
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
