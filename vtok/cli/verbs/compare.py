"""vtok compare: runs side by side in a table and a plot."""

from collections.abc import Sequence

from vtok.common.errors import UserError
from vtok.common.paths import user_path
from vtok.common.setting_types import PositiveFraction
from vtok.runs.comparison import LEARNT
from vtok.runs.folder import find_run, run_of
from vtok.runs.sweep_folder import find_sweep


def compare(
    *,
    sweep: str | None = None,
    runs: Sequence[str] = (),
    metrics: Sequence[str] = (),
    baseline: str | None = None,
    learnt: PositiveFraction = LEARNT,
    out: str | None = None,
    outputs: str = "outputs",
) -> None:
    """Compare runs side by side: their metrics, what differs between them, and how soon they learn.

    Either a sweep or a list of runs. Runs that differ only in the seed are one group. Groups are compared question by
    question, and a sentence for each difference says whether it is shown.

    Args:
        sweep: a sweep folder, or latest.
        runs: run folders or checkpoints, [A,B].
        metrics: names of metrics in summary.json; []: the default ones.
        baseline: label or value of the group of runs that the others are compared with, such as frame_sampling; null:
            all pairs of up to four groups, else the first group.
        learnt: accuracy on validation clips from which a category counts as learnt, for the time to learn it.
        out: a folder for the files; null: comparison in the sweep folder, and no files for a list of runs.
        outputs: folder in which runs are looked for.

    Raises:
        UserError: if a folder holds no run, no run has metrics, or a metric or the baseline is unknown.
    """
    if (sweep is None) == (not runs):
        raise UserError("vtok compare takes either sweep or runs. Set one of sweep=latest, sweep=DIR and runs=[A,B].")
    if len(runs) == 1:
        raise UserError(f"runs=[{runs[0]}]: a comparison takes two runs or more. Use runs=[A,B] or sweep=DIR.")
    folder = None if sweep is None else find_sweep(sweep, outputs)
    folders = [run_of(find_run(run, outputs, setting="runs")) for run in runs]
    # Pictures and MLflow take seconds to import, and mistakes are reported before.
    from vtok.runs.mlflow_parent import ARTIFACT_FOLDER
    from vtok.runs.report import report, report_sweep

    target = user_path(out) if out else None
    if folder is not None:
        report_sweep(folder, metrics=metrics, out=target or folder / ARTIFACT_FOLDER, baseline=baseline, learnt=learnt)
    else:
        report(folders, metrics=metrics, out=target, title=f"{len(runs)} runs", baseline=baseline, learnt=learnt)
