"""vtok compare: runs side by side in a table and a plot."""

from collections.abc import Sequence
from pathlib import Path

from vtok.common.errors import UserError
from vtok.runs.comparison import Comparison
from vtok.runs.report import ARTIFACT_FOLDER, report, report_sweep
from vtok.runs.sweep_folder import find_sweep


def compare_runs(runs: Path | Sequence[Path], *, metrics: Sequence[str] = (), out: Path | None = None) -> Comparison:
    """Compare the runs of a sweep folder, or two run folders or more, and print the table.

    metrics: names in summary.json; none gives the usual ones. out: the folder for `comparison.csv`, `.md`, `.png`,
    `.html`; None writes them to `comparison` in the sweep folder, and nowhere for a list of runs. A sweep's files are
    logged to its parent run in MLflow too. Raises UserError where a folder holds no run, no run has figures, or a
    metric is unknown.
    """
    if isinstance(runs, Path):
        return report_sweep(runs, metrics=metrics, out=out or runs / ARTIFACT_FOLDER)
    if len(runs) < 2:
        raise UserError(f"runs names {len(runs)} run folder(s), and a comparison takes two: runs=[A,B] or sweep=DIR.")
    return report(runs, metrics=metrics, out=out, title=f"{len(runs)} runs")


def compare(
    *,
    sweep: str | None = None,
    runs: Sequence[str] = (),
    metrics: Sequence[str] = (),
    out: str | None = None,
    outputs: str = "outputs",
) -> None:
    """Runs side by side: a table, and a plot of the metrics against what differs.

    Either a sweep or a list of runs.

    Args:
        sweep: a sweep's folder, or latest.
        runs: run folders, [A,B].
        metrics: names in summary.json; []: the usual ones.
        out: a folder for the files; null: comparison in the sweep's folder, for runs none.
        outputs: folder in which runs are looked for.

    Raises:
        UserError: a folder holds no run, no run has metrics, or a metric is unknown.
    """
    target = Path(out) if out else None
    if (sweep is None) == (not runs):
        raise UserError("vtok compare needs one of sweep=latest, sweep=DIR and runs=[A,B].")
    if sweep is None:
        compare_runs([Path(run) for run in runs], metrics=metrics, out=target)
    else:
        compare_runs(find_sweep(sweep, outputs), metrics=metrics, out=target)
