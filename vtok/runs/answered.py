"""Which questions a run has answered right, from its `answers.parquet` and `answers_validation.parquet`."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vtok.data.clip import VALIDATION

# Files of a run folder.
ANSWERS, VALIDATION_ANSWERS = "answers.parquet", "answers_validation.parquet"
# First part of a metric's name by kind of answer, in the order of the metrics.
PREFIXES = {
    "caption": "caption",
    "choice": "alignment",
    "yes_no": "alignment_yes_no",
    "reconstruct": "reconstruct",
    "generate": "generate",
    "unseen": "unseen",
    "control": "control",
}


@dataclass(frozen=True)
class Asked:
    """A question about a clip. Runs that are compared must have the same choices and the same truth.

    Attributes:
        source: data set of the clip.
        clip: id of the clip.
        question: text of the question.
        choices: possible answers, sorted.
        truth: the true answer.
        number: how often the same question about the clip came before.
        cluster: cluster of the clip in its data set. It may be a path, which changes when the data is moved, so the
            same question may have another one.
    """

    source: str
    clip: str
    question: str
    choices: tuple[str, ...]
    truth: str
    number: int
    cluster: str = field(compare=False)


Right = Mapping[Asked, bool]


@dataclass(frozen=True)
class CommonAnswers:
    """Answers of several runs to the questions that all of them were asked.

    Attributes:
        right: (runs, clusters), number of right answers.
        sizes: (clusters,), number of questions in each cluster.
        left_out: number of questions that only some of the runs were asked.
    """

    right: NDArray[np.int64]
    sizes: NDArray[np.int64]
    left_out: int


def read_right(run_dir: Path) -> dict[str, dict[Asked, bool]]:
    """Whether each answer of a run is right, by metric and question; empty if the run has saved no answers.

    Metrics have the names of `summary.json`. Those of a mixture of data sets are there for each data set too.

    Raises:
        UserError: a file cannot be read.
    """
    validation = {f"{VALIDATION}{metric}": each for metric, each in _read_file(run_dir / VALIDATION_ANSWERS).items()}
    return _read_file(run_dir / ANSWERS) | validation


def common_answers(runs: Sequence[Right]) -> CommonAnswers | None:
    """The answers of runs to their common questions; None if they have none in common."""
    common = [asked for asked in runs[0] if all(asked in run for run in runs[1:])]
    if not common:
        return None
    places: dict[tuple[str, str], int] = {}
    cluster = [places.setdefault((asked.source, asked.cluster), len(places)) for asked in common]
    right = [np.bincount(cluster, weights=[run[asked] for asked in common]).astype(np.int64) for run in runs]
    return CommonAnswers(np.stack(right), np.bincount(cluster), len(set().union(*runs)) - len(common))


def _read_file(path: Path) -> dict[str, dict[Asked, bool]]:
    # A run's evaluations write the file, and come after the folder that reads it.
    from vtok.evaluation.answers import read_answers

    if not path.is_file():
        return {}
    right: dict[str, dict[Asked, bool]] = {}
    seen: Counter[tuple[str, Asked]] = Counter()
    for answer in read_answers(path):
        choices = tuple(sorted(answer.choices))
        first = Asked(answer.source, answer.clip, answer.question, choices, answer.truth, 0, answer.group)
        prefix = PREFIXES.get(answer.kind, answer.kind)
        own = [f"{prefix}/{answer.source}/{answer.category}"] if answer.source else []
        for metric in (f"{prefix}/{answer.category}", *own):
            asked = replace(first, number=seen[metric, first])
            seen[metric, first] += 1
            right.setdefault(metric, {})[asked] = answer.right
    return right
