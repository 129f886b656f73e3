"""Results of probing, as metrics and as a table."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import fmean

import pyarrow as pa
import pyarrow.parquet as pq

from vtok.common.files import atomic_file
from vtok.common.statistics import share_interval_of_runs, student
from vtok.common.tables import table
from vtok.evaluation.accuracy import Accuracy, accuracy_metrics
from vtok.evaluation.answers import SCHEMA
from vtok.runs.answered import Asked
from vtok.runs.pairs import Pairs, corrected, pair_of

# What rows mean, by the beginning of their names.
LEGEND = {
    "linear": "accuracy of a linear layer on all tokens.",
    "attentive": "accuracy of a small transformer layer that attends to the tokens.",
    "shuffled": "accuracy with all frames in random order, in training too.",
    "order/accuracy": "accuracy of a probe that separates true clips from reversed or shuffled ones.",
    "order/distance": "distance of tokens when a clip is reversed or shuffled, over the distance to another clip.",
    "reconstruction": "squared error of the frames' features over their variance, 1 for always predicting the mean.",
}


@dataclass
class ProbeResult:
    """The result for one tokeniser.

    Attributes:
        tokens: largest number of tokens of a clip.
        clips: numbers of (training, test) clips.
        accuracies: accuracies on test clips by name; chance is that of always giving the most frequent answer.
        numbers: other metrics by name.
        seconds: duration of the probes, without reading and encoding the clips.
    """

    tokens: int
    clips: tuple[int, int]
    accuracies: dict[str, Accuracy] = field(default_factory=dict)
    numbers: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0

    def metrics(self) -> dict[str, float]:
        """Metrics by name, such as `probe/attentive/colour`."""
        named = {**accuracy_metrics(self.accuracies), **self.numbers}
        return {
            "tokens_per_clip": float(self.tokens),
            "probe_clips/train": float(self.clips[0]),
            "probe_clips/test": float(self.clips[1]),
            "seconds": self.seconds,
            **{f"probe/{name}": value for name, value in named.items()},
        }

    def value(self, name: str) -> float | None:
        """An accuracy or another number by name; None if there is none."""
        accuracy = self.accuracies.get(name)
        return self.numbers.get(name) if accuracy is None else accuracy.share


def mean_metrics(results: Sequence[ProbeResult]) -> dict[str, float]:
    """The metrics of one result, or the means of several with different seeds, with 95 % intervals."""
    if len(results) == 1:
        return results[0].metrics()
    by_seed = [result.metrics() for result in results]
    means = {name: fmean(metrics[name] for metrics in by_seed) for name in by_seed[0]}
    for name in (*results[0].accuracies, *results[0].numbers):
        ends = {f"probe/{name}_low", f"probe/{name}_high"}
        means = {key: value for key, value in means.items() if key not in ends}
        if (interval := interval_of(results, name)) is not None:
            means |= {f"probe/{name}_low": interval[0], f"probe/{name}_high": interval[1]}
    return {**means, "seeds": float(len(results))}


def values_of(results: Sequence[ProbeResult], name: str) -> list[float]:
    """The value of a metric for each seed that has it."""
    return [value for result in results if (value := result.value(name)) is not None]


def interval_of(results: Sequence[ProbeResult], name: str) -> tuple[float, float] | None:
    """The 95 % interval of a metric's mean over seeds: of an accuracy over seeds and clips, else Student's over seeds.

    Errors of exactly equal size have no interval, because an interval of width 0 would claim too much.
    """
    accuracies = [result.accuracies[name] for result in results if name in result.accuracies]
    if accuracies:
        return share_interval_of_runs([one.share for one in accuracies], [one.interval for one in accuracies])
    return student(values_of(results, name), least=0.0)


def side_by_side(results: Mapping[str, Sequence[ProbeResult]]) -> str:
    """A table with a column for each tokeniser.

    Args:
        results: results by name of the tokeniser, one for each seed.
    """
    firsts = {name: several[0] for name, several in results.items()}
    rows = dict.fromkeys(name for result in firsts.values() for name in (*result.accuracies, *result.numbers))
    lines = [["", "guessing", *results], ["tokens a clip", "", *(str(one.tokens) for one in firsts.values())]]
    for row in rows:
        guessing = next((one.accuracies[row] for one in firsts.values() if row in one.accuracies), None)
        chance = f"{guessing.chance:.0%}" if guessing is not None and guessing.chance is not None else ""
        lines.append([row, chance, *(cell(each, row) for each in results.values())])
    several = next(iter(results.values()))
    train, test = several[0].clips
    how = "accuracies with 95 % intervals" if len(several) == 1 else f"means of {len(several)} seeds, 95 % intervals"
    legend = [f"{name}: {text}" for name, text in LEGEND.items() if any(row.startswith(name) for row in rows)]
    beneath = (
        f"{test} test clips, probes of {train} training clips; {how}. guessing: always giving the most frequent answer."
    )
    return "\n".join([table(lines), beneath, *legend])


def differences(results: Mapping[str, Sequence[ProbeResult]]) -> Pairs:
    """How the accuracies of each tokeniser differ from those of the first, on the same clips.

    Controls, with frames in random order, are not compared: they would only make the correction stricter.

    Args:
        results: results by name of the tokeniser, with the same seeds for each.
    """
    (first, theirs), *others = results.items()
    found = []
    for name, ours in others:
        for metric in theirs[0].accuracies:
            if metric in ours[0].accuracies and not metric.startswith("shuffled/"):
                rights = ([right_of(one.accuracies[metric]) for one in each] for each in (ours, theirs))
                found.append(pair_of(metric, (name, first), *rights, same_seeds=True))
    return Pairs(corrected([pair for pair in found if pair is not None]), [])


def right_of(accuracy: Accuracy) -> dict[Asked, bool]:
    """Which questions of a probe are answered right. The truth distinguishes a clip from its reverse."""
    return {
        Asked(one.source, one.clip, one.category, (), one.truth, 0, one.group): one.right for one in accuracy.answers
    }


def write_probe_answers(results: Mapping[str, Sequence[ProbeResult]], seeds: Sequence[int], path: Path) -> None:
    """Write the answers of all probes as parquet, with the columns tokeniser, seed and probe before those of `Answer`.

    Args:
        results: results by name of the tokeniser, one for each of the seeds.
    """
    rows = [
        {"tokeniser": tokeniser, "seed": seed, "probe": name, **asdict(answer)}
        for tokeniser, several in results.items()
        for seed, result in zip(seeds, several, strict=True)
        for name, accuracy in result.accuracies.items()
        for answer in accuracy.answers
    ]
    schema = pa.schema([("tokeniser", pa.string()), ("seed", pa.int64()), ("probe", pa.string()), *SCHEMA])
    with atomic_file(path) as temporary:
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), temporary)


def cell(results: Sequence[ProbeResult], name: str) -> str:
    first = results[0]
    if first.value(name) is None:
        return "-"
    if len(results) > 1:
        mean, interval, share = fmean(values_of(results, name)), interval_of(results, name), name in first.accuracies
        value_format, end_format = ("{:.1%}", "{:.0%}") if share else ("{:.3f}", "{:.2f}")
        ends = f" [{end_format}, {end_format}]".format(*interval) if interval else ""
        return value_format.format(mean) + ends
    if name in first.numbers:
        return f"{first.numbers[name]:.3f}"
    accuracy = first.accuracies[name]
    low, high = accuracy.interval
    return f"{accuracy.share:.1%} [{low:.0%}, {high:.0%}]"
