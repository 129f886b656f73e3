"""The result of a study: printed, as pictures, as Markdown, and as a page that a reader can judge."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from vtok.common.files import write_text
from vtok.common.overrides import command
from vtok.common.tables import markdown, table
from vtok.runs.comparison import SEED, Comparison, compare_runs
from vtok.runs.learning import Learning, read_learning
from vtok.runs.page import MEGABYTE, PageFiles, render
from vtok.runs.pairs import Pairs, compare_pairs, find_baseline, group_names
from vtok.runs.saved_run import SavedRun
from vtok.runs.seeds import seed_table
from vtok.runs.study import Study
from vtok.runs.study_plot import draw_accuracy, draw_seed_curves
from vtok.runs.study_probes import StudyProbes
from vtok.runs.study_runs import Choice

PAGE, TEXT, NUMBERS, DIFFERENCES = "study.html", "study.md", "study.json", "differences.csv"
ALIGNMENT = "alignment/"
FIGURE, LEARNING = "accuracy.png", "learning.png"


@dataclass(frozen=True)
class StudyResult:
    """The result of a study.

    Attributes:
        study: the study.
        choices: tuned settings of each method.
        runs: final runs of each method.
        comparison: the same runs; they differ in `method` and seed.
        base: index of the baseline's group.
        pairs: differences from the baseline, and of the study's pairs.
        learning: times to learn.
        probed: metrics of the probes of each method; empty if there are none.
        costs: a table with a header: the cost of each method.
        replay: the command that runs the study.
    """

    study: Study
    choices: Mapping[str, Choice]
    runs: Mapping[str, Sequence[SavedRun]]
    comparison: Comparison
    base: int | None
    pairs: Pairs
    learning: Learning
    probed: Mapping[str, Mapping[str, float]]
    costs: Sequence[Sequence[str]]
    replay: str

    @property
    def commits(self) -> str:
        """The commits of the final runs."""
        return ", ".join(sorted({str(run.summary.get("commit", "not known")) for run in self.comparison.runs}))

    def settings(self) -> list[list[str]]:
        """A table: what each method was run with, and what was chosen for it."""
        rows = [["method", *self.study.tuning, "overrides"]]
        for method, choice in self.choices.items():
            shown = [
                f"{value}{' (edge)' if key in choice.at_the_edge else ''}" for key, value in choice.settings.items()
            ]
            rows.append([method, *shown, command(*self.study.methods[method])])
        return rows

    def tuning(self) -> str:
        """What was tuned and what was not, in words."""
        keys = " and ".join(f"{key} ({', '.join(map(str, values))})" for key, values in self.study.tuning.items())
        seeds = ", ".join(map(str, self.study.tuning_seeds))
        edges = [name for name, choice in self.choices.items() if choice.at_the_edge]
        text = (
            f"Tuned for every method: {keys}; one run a setting and seed ({seeds}). Chosen by the mean of "
            f"{', '.join(self.study.choose_by)}. Nothing was chosen on test clips."
        )
        if edges:
            text += f" The best value is at the edge of the grid for {', '.join(edges)}: a wider grid may favour them."
        return text

    def differences(self) -> str:
        """The heading of the differences."""
        also = "".join(f", and of {first} from {second}" for first, second in self.study.pairs)
        return f"Differences from {self.study.baseline}{also}"

    def sections(self) -> list[tuple[str, str, list[list[str]]]]:
        """Heading, explanation and table of each part of the result; empty tables are left out."""
        found = [
            ("Settings", self.tuning(), self.settings()),
            ("Accuracy on test clips", "Means over the seeds, with 95 % intervals.", seed_table(self.comparison)),
            (self.differences(), f"{self.pairs.text()}.", self.pairs.rows()),
            ("Time to learn", f"{self.learning.text()}.", self.learning.rows()),
            (
                "Probes",
                "Accuracy in % on test clips of a linear and of an attentive probe. The tokeniser's own layers are "
                "trained with each probe.",
                self.probes.rows(),
            ),
            (
                "Do probes predict trained models?",
                "Rank correlation over the methods, with 95 % intervals over resampled methods.",
                self.probes.correlations(),
            ),
            ("Cost of one clip", "Medians on this machine, one clip at a time.", [list(row) for row in self.costs]),
        ]
        return [(heading, f"{text[0].upper()}{text[1:]}", rows) for heading, text, rows in found if rows]

    def sentences(self) -> list[str]:
        """What is shown, and what is not."""
        sooner = self.learning.sentences(self.base, also=further_pairs(self.study, self.comparison))
        return [*self.pairs.sentences(), *self.pairs.untested, *sooner]

    @property
    def means(self) -> dict[str, dict[str, float]]:
        """The mean of each metric over the seeds, by method."""
        names = self.study.metrics
        return {
            method: {name: fmean(float(run.summary[name]) for run in runs) for name in names}
            for method, runs in self.runs.items()
        }

    @property
    def probes(self) -> StudyProbes:
        """The probes beside the trained models."""
        names = [name for name in self.study.metrics if name.startswith(ALIGNMENT)]
        means = self.means
        return StudyProbes(
            self.probed,
            {name.removeprefix(ALIGNMENT): {method: own[name] for method, own in means.items()} for name in names},
        )

    def numbers(self) -> dict[str, dict[str, Any]]:
        """Number of seeds, and mean of each metric, by method."""
        return {method: {"seeds": len(self.runs[method]), "means": own} for method, own in self.means.items()}

    def text(self) -> str:
        """The study as Markdown."""
        study = self.study
        parts = [f"# Study: {study.name}", study.question]
        for heading, text, rows in self.sections():
            parts += [f"## {heading}", text, markdown(rows)]
        parts += ["## What is shown, and what is not", "\n".join(f"- {one}" for one in self.sentences())]
        parts += ["## What this study does not show", "\n".join(f"- {one}" for one in study.limits)]
        parts += ["## To repeat it", f"```\n{self.replay}\n```", f"Commit: {self.commits}."]
        return "\n\n".join(parts) + "\n"


def study_result(
    study: Study,
    choices: Mapping[str, Choice],
    runs: Mapping[str, Sequence[SavedRun]],
    *,
    probes: Mapping[str, Mapping[str, float]],
    costs: Sequence[Sequence[str]],
    replay: str,
) -> StudyResult:
    """Compare the final runs of a study.

    Args:
        study: the study.
        choices: tuned settings of each method.
        runs: final runs of each method.
        probes: metrics of the probes of each method; empty if there are none.
        costs: a table with a header: the cost of each method.
        replay: command that runs the study.

    Raises:
        UserError: no run has finished, or a metric is unknown.
    """
    every = [(method, run) for method, ones in runs.items() for run in ones]
    compared = compare_runs([run for _, run in every], study.metrics, learnt=study.learnt)
    methods = {run.path: method for method, run in every}
    settings = {
        "method": [methods[run.path] for run in compared.runs],
        SEED: [run.config[SEED] for run in compared.runs],
    }
    comparison = replace(compared, settings=settings)
    base = find_baseline(comparison, study.baseline)
    return StudyResult(
        study,
        choices,
        runs,
        comparison,
        base,
        compare_pairs(comparison, base, also=further_pairs(study, comparison)),
        read_learning(comparison),
        probes,
        costs,
        replay,
    )


def further_pairs(study: Study, comparison: Comparison) -> list[tuple[int, int]]:
    """The study's pairs, as indices of the groups of seeds of its comparison."""
    places = {name: place for place, name in enumerate(group_names(comparison))}
    return [(places[first], places[second]) for first, second in study.pairs]


def write_study(result: StudyResult, folder: Path) -> list[Path]:
    """Print the tables, and write the page, the Markdown text, the pictures and the differences as CSV."""
    for heading, text, rows in result.sections():
        print(f"\n{heading}. {text}\n{table(rows)}")
    print("", *result.sentences(), sep="\n")
    draw_accuracy(result.comparison, folder / FIGURE)
    pictures = [folder / FIGURE]
    if result.learning.times:
        draw_seed_curves(result.comparison, result.learning, folder / LEARNING, baseline=result.base)
        pictures.append(folder / LEARNING)
    (folder / DIFFERENCES).unlink(missing_ok=True)
    if result.pairs.tested:
        result.pairs.write_csv(folder / DIFFERENCES)
    write_text(folder / TEXT, result.text())
    write_text(folder / NUMBERS, json.dumps(result.numbers(), indent=1))
    files = PageFiles(folder / PAGE, embed_bytes=16 * MEGABYTE)
    files.clear()
    values = {"result": result, "pictures": [(one.stem, files.source(one)) for one in pictures]}
    write_text(folder / PAGE, render("study.html", f"Study: {result.study.name}", values))
    return sorted([*pictures, folder / TEXT, folder / NUMBERS, folder / PAGE, *folder.glob(DIFFERENCES)])
