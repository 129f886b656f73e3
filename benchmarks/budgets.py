"""One model for many budgets beside one model for each: the runs of `sweep=elastic`, compared at every budget.

    python train.py sweep=elastic seed=0,1,2
    python benchmarks/budgets.py sweep=latest

from the root of a checkout, with vtok installed.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

import numpy as np

from vtok.cli.main import run_script
from vtok.cli.verbs.evaluate import evaluate
from vtok.common.differences import Difference, paired_difference
from vtok.common.errors import UserError
from vtok.common.tables import table
from vtok.runs.answered import ANSWERS, Asked, common_answers, read_right
from vtok.runs.saved_run import SavedRun, find_runs, read_run
from vtok.runs.sweep_folder import find_sweep

HEADINGS: tuple[str, ...] = ("tokens", "one for each", "one for all", "points", "questions", "seeds")


def budgets(*, sweep: str = "latest", outputs: str = "outputs", overrides: Sequence[str] = ()) -> str:
    """Evaluate the runs of a sweep at each budget that they were trained with, and compare them.

    Answers are written to the folder `budgets` of the sweep; those that are there already are not computed again.

    Args:
        sweep: a sweep folder of tokeniser=elastic, or latest. It has one run for all budgets and one for each.
        outputs: folder in which sweeps are looked for.
        overrides: overrides of the runs' configuration, such as evaluation.max_clips=100.

    Raises:
        UserError: if there is no such sweep, or its runs are not those of `sweep=elastic`.
    """
    folder = find_sweep(sweep, outputs)
    runs = [read_run(path) for path in find_runs(folder) if (path / "summary.json").is_file()]
    trained = {(tuple(run.config["tokeniser"].get("train_tokens", ())), run.config["seed"]): run for run in runs}
    every = {budgets: seed for budgets, seed in trained if len(budgets) > 1}
    if len(every) != 1:
        raise UserError(
            f"sweep={folder}: {len(every)} sets of several budgets were trained with. Use a sweep of python train.py "
            "sweep=elastic, which has one."
        )
    (several,) = every
    seeds = sorted(seed for budgets, seed in trained if budgets == several)
    rows = [HEADINGS]
    for budget in several:
        pair = [[trained.get((budgets, seed)) for seed in seeds] for budgets in ((budget,), several)]
        if any(run is None for group in pair for run in group):
            raise UserError(f"sweep={folder}: no finished run of tokeniser.train_tokens=[{budget}]. Finish the sweep.")
        each, for_all = (
            [right_answers(run, budget, folder / "budgets", overrides) for run in group if run] for group in pair
        )
        rows.append(row_of(budget, each, for_all))
    alone = [run for (budgets, _), run in trained.items() if len(budgets) == 1]
    ratio = seconds([trained[several, seed] for seed in seeds]) / seconds(alone)
    return f"{table(rows)}\ntime of a run for all, as a multiple of the mean of the runs for each: {ratio:.2f}"


def right_answers(run: SavedRun, budget: int, folder: Path, overrides: Sequence[str]) -> dict[Asked, bool]:
    """Whether each choice question is answered right at a budget."""
    place = folder / f"{run.path.name}_{budget}"
    if not (place / ANSWERS).is_file():
        place.mkdir(parents=True, exist_ok=True)
        evaluate(run=str(run.path), out=str(place / ANSWERS), overrides=[f"tokeniser.budget={budget}", *overrides])
    found = read_right(place)
    return {
        asked: right
        for metric, answers in found.items()
        if metric.startswith("alignment/")
        for asked, right in answers.items()
    }


def row_of(budget: int, each: Sequence[dict[Asked, bool]], for_all: Sequence[dict[Asked, bool]]) -> tuple[str, ...]:
    """A row of the table; the seeds of both groups are the same."""
    common = common_answers([*each, *for_all])
    if common is None:
        raise UserError("The runs have no question in common. Evaluate all of them on the same clips.")
    ours, theirs = np.split(common.right, [len(each)])[::-1]
    difference = paired_difference(ours, theirs, common.sizes, paired_seeds=True)
    shares = [f"{group.sum() / (len(group) * common.sizes.sum()):.1%}" for group in (theirs, ours)]
    return (str(budget), *shares, points(difference), str(difference.questions), str(len(each)))


def points(difference: Difference) -> str:
    """A difference in points with its 95 % interval."""
    return f"{100 * difference.value:+.1f} [{100 * difference.low:.1f}, {100 * difference.high:.1f}]"


def seconds(runs: Sequence[SavedRun]) -> float:
    """The mean time of the runs, in which each evaluates one budget."""
    return fmean(float(run.summary["seconds"]) for run in runs)


if __name__ == "__main__":
    sys.exit(run_script(budgets))
