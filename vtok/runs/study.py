"""Studies: comparisons in which every method is tuned alike, on validation clips, and then repeated with several seeds.

A study is a file of `experiments/study`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, count, islice, product
from pathlib import Path
from typing import Any

from vtok.common.differences import LEVEL, seeds_to_order, seeds_to_separate
from vtok.common.errors import UserError
from vtok.common.foreign_files import read_mapping
from vtok.common.overrides import key_of
from vtok.common.paths import experiments_dir
from vtok.config.options import one_of
from vtok.data.clip import VALIDATION
from vtok.runs.comparison import SEED


@dataclass(frozen=True)
class Study:
    """A study as its file declares it.

    Attributes:
        name: name of the file.
        question: what is asked, in a sentence.
        methods: overrides of each method by its name.
        common: overrides of all runs.
        baseline: method that the others are compared with.
        pairs: further pairs of methods to compare; the second is subtracted.
        tuning: values of the keys that are tuned, the same for every method.
        tuning_seeds: seeds of the tuning runs, none of them in `seeds`; several if some runs of a method learn nothing.
        choose_by: validation metrics whose mean, over the tuning seeds too, is maximised.
        seeds: seeds of the final runs.
        metrics: test metrics that are compared.
        learnt: accuracy from which a category counts as learnt, for the time to learn it, above 0 and at most 1.
        limits: what the study does not show, in sentences.
    """

    name: str
    question: str
    methods: Mapping[str, Sequence[str]]
    common: Sequence[str]
    baseline: str
    pairs: Sequence[Sequence[str]]
    tuning: Mapping[str, Sequence[Any]]
    tuning_seeds: Sequence[int]
    choose_by: Sequence[str]
    seeds: Sequence[int]
    metrics: Sequence[str]
    learnt: float
    limits: Sequence[str]

    @property
    def tried(self) -> list[dict[str, Any]]:
        """The settings that are tried for each method, each with all tuning seeds: values by key."""
        return [dict(zip(self.tuning, values, strict=True)) for values in product(*self.tuning.values())]

    def part(self, *, methods: Sequence[str] = (), seeds: int | None = None) -> "Study":
        """The study with some of its methods (none: all) and another number of seeds (None: its own).

        Raises:
            UserError: the study has no such method, or its baseline is not among them.
        """
        chosen = list(methods or self.methods)
        if wrong := [one for one in chosen if one not in self.methods]:
            raise UserError(f"methods={wrong[0]}: unknown method. {one_of(wrong[0], list(self.methods))}")
        if self.baseline not in chosen:
            raise UserError(f"methods=[{','.join(chosen)}]: the baseline is missing. Add {self.baseline}.")
        numbers = self.seeds if seeds is None else _seeds(self.seeds, seeds, without=self.tuning_seeds)
        pairs = [pair for pair in self.pairs if set(pair) <= set(chosen)]
        return replace(self, methods={one: self.methods[one] for one in chosen}, pairs=pairs, seeds=numbers)

    def overrides(self, method: str) -> list[str]:
        """The overrides of all runs of a method."""
        return [*self.common, *self.methods[method]]

    def check_overrides(self, given: Sequence[str]) -> None:
        """Check that overrides of all runs leave to the study what it sets for each run.

        Raises:
            UserError: one of them sets a seed, a tuned key, or an option that a method sets.
        """
        own = {"seed": "its seeds", "optimise": "its choose_by"} | {key: "its tuning" for key in self.tuning}
        for method, overrides in self.methods.items():
            own |= {key_of(one): f"its method {method}" for one in overrides}
        for one in given:
            if (key := key_of(one)) in own:
                raise UserError(f"{one}: the study sets {key} in {own[key]}. Remove it, or change the study's file.")

    @property
    def validation(self) -> str:
        """The override that makes tuning runs evaluate their validation clips at the end."""
        return f"optimise={self.choose_by[0]}"

    def tuning_overrides(self, method: str) -> list[str]:
        """The overrides of a method's tuning runs, as one sweep."""
        swept = [f"{key}={','.join(map(str, values))}" for key, values in self.tuning.items()]
        return [*self.overrides(method), *swept, f"seed={','.join(map(str, self.tuning_seeds))}", self.validation]

    def final_overrides(self, method: str, chosen: Mapping[str, Any]) -> list[str]:
        """The overrides of a method's final runs, as one sweep over the seeds."""
        settings = [f"{key}={chosen[key]}" for key in self.tuning]
        return [*self.overrides(method), *settings, f"seed={','.join(map(str, self.seeds))}"]

    @property
    def run_folders(self) -> str:
        """The override that names the folders of runs by their settings and seed.

        Hydra's numbers would belong to other settings after a change of `tuning`.
        """
        return f"hydra.sweep.subdir={'_'.join(f'{key}_${{{key}}}' for key in [*self.tuning, SEED])}"

    @property
    def comparisons(self) -> int:
        """Number of tests of differences, for which p-values are corrected."""
        return (len(self.methods) - 1 + len(self.pairs)) * len(self.metrics)

    def plan(self) -> str:
        """What will be run, in words, and whether the seeds are too few to show anything."""
        settings = " x ".join(f"{_number(len(values), 'value')} of {key}" for key, values in self.tuning.items())
        tuning = len(self.methods) * len(self.tried) * len(self.tuning_seeds)
        final = len(self.methods) * len(self.seeds)
        tuning_seeds, seeds = (
            f"{_number(len(each), 'seed')} ({', '.join(map(str, each))})" for each in (self.tuning_seeds, self.seeds)
        )
        level = LEVEL / max(1, self.comparisons)
        few = ""
        if len(self.seeds) < (needed := seeds_to_separate(level)):
            few += f" The seeds are too few to show any difference in accuracy: use seeds={needed}."
        # What no method learns is not tested, so that fewer may do.
        if len(self.seeds) < (needed := seeds_to_order(level)):
            few += f" They may be too few to show that a method learns sooner; seeds={needed} are enough."
        return "\n".join(
            [
                self.question,
                f"{_number(len(self.methods), 'method')}: {', '.join(self.methods)}",
                f"{_number(tuning, 'tuning run')}: {settings} for each method, {tuning_seeds}, chosen by the mean of "
                f"{', '.join(self.choose_by)}",
                f"{_number(final, 'final run')}: {seeds} of each method, reported on test clips",
                f"{_number(self.comparisons, 'comparison')} on test clips.{few}"
                if self.comparisons
                else "no comparison: only the baseline is chosen",
            ]
        )


def _number(count: int, name: str) -> str:
    """ "1 run", "2 runs"."""
    return f"{count} {name}{'' if count == 1 else 's'}"


def _seeds(own: Sequence[int], number: int, *, without: Sequence[int]) -> list[int]:
    """`number` seeds: those of the study first, then the smallest unused numbers."""
    others = (seed for seed in count() if seed not in own and seed not in without)
    return list(islice(chain(own, others), number))


def _list_of(*kinds: type) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(type(one) in kinds for one in value)


def _lists_by_name(*kinds: type) -> Callable[[Any], bool]:
    each = _list_of(*kinds)
    return lambda value: isinstance(value, dict) and all(isinstance(k, str) and each(v) for k, v in value.items())


CAN_BE_EMPTY = ("common", "pairs")
# For each key: a check of its value, and what it must be.
KEYS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "question": (lambda value: isinstance(value, str), "a sentence"),
    "methods": (_lists_by_name(str), "a list of overrides by method"),
    "common": (_list_of(str), "a list of overrides"),
    "baseline": (lambda value: isinstance(value, str), "the name of a method"),
    "pairs": (_list_of(list), "a list of pairs of methods"),
    "tuning": (
        lambda value: _lists_by_name(int, float, str, bool)(value) and all(value.values()),
        "a list of values by key",
    ),
    "tuning_seeds": (_list_of(int), "a list of integers"),
    "choose_by": (_list_of(str), "a list of metrics"),
    "seeds": (_list_of(int), "a list of integers"),
    "metrics": (_list_of(str), "a list of metrics"),
    "learnt": (lambda value: type(value) in (int, float), "a number above 0 and at most 1"),
    "limits": (_list_of(str), "a list of sentences"),
}


def read_study(name: str) -> Study:
    """The study `name` of `experiments/study`, or that of a file whose name ends in .yaml.

    Raises:
        UserError: there is no such study, or its file lacks a key or has a wrong one.
    """
    folder = experiments_dir() / "study"
    file = Path(name) if name.endswith(".yaml") else folder / f"{name}.yaml"
    if not file.is_file():
        raise UserError(
            f"name={name}: unknown study. {one_of(name, sorted(one.stem for one in folder.glob('*.yaml')))}"
        )
    content = {"pairs": [], **read_mapping(file)}
    for key in content:
        if key not in KEYS:
            raise UserError(f"{file}: {key} is an unknown key. {one_of(str(key), list(KEYS))}")
    for key, (is_valid, kind) in KEYS.items():
        if not is_valid(content.get(key)) or (not content[key] and key not in CAN_BE_EMPTY):
            raise UserError(f"{file}: {key} must be {kind}. Set {key}.")
    study = Study(name=file.stem, **content)
    if study.baseline not in study.methods:
        raise UserError(
            f"{file}: baseline={study.baseline} is not a method. {one_of(study.baseline, list(study.methods))}"
        )
    for pair in study.pairs:
        if len(pair) != 2 or pair[0] == pair[1] or not set(pair) <= set(study.methods) or study.baseline in pair:
            others = ", ".join(method for method in study.methods if method != study.baseline)
            raise UserError(f"{file}: pairs has {pair}. Use pairs of two methods besides the baseline: {others}.")
    for key in study.tuning:
        # Runs are found by the values of keys, and an option of a group is not a value.
        if "/" in key or "." not in key:
            raise UserError(f"{file}: tuning has {key}, which is not a key. Use keys such as optimiser.lr.")
    for key, seeds in (("seeds", study.seeds), ("tuning_seeds", study.tuning_seeds)):
        if len(set(seeds)) < len(seeds):
            raise UserError(f"{file}: {key} has a seed twice. Remove it.")
    if reported := [seed for seed in study.tuning_seeds if seed in study.seeds]:
        raise UserError(
            f"{file}: tuning_seeds has {reported[0]}, which is one of the seeds, so a reported run would choose its "
            "own settings. Use another seed."
        )
    if not 0 < study.learnt <= 1:
        raise UserError(f"{file}: learnt={study.learnt} is not an accuracy. Use a share above 0 and at most 1.")
    if wrong := next((one for one in study.choose_by if not one.startswith(VALIDATION)), None):
        raise UserError(f"{file}: choose_by has {wrong}, which is not of validation clips. Use {VALIDATION}{wrong}.")
    return study
