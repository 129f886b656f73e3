"""vtok compare: runs side by side in a table and a plot."""

from collections.abc import Sequence
from pathlib import Path

from vtok.errors import UserError
from vtok.sweeps import find_sweep
from vtok.tracking.comparison import Comparison
from vtok.tracking.report import ARTIFACT_FOLDER, report, report_sweep


def compare(runs: Path | Sequence[Path], *, metrics: Sequence[str] = (), out: Path | None = None) -> Comparison:
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


def compare_from_command_line(
    *, sweep: str | None, runs: list[str], metrics: list[str], out: str | None, outputs: str
) -> Comparison:
    """`compare` on what was typed: a sweep's folder, "latest" (the newest sweep below `outputs`), or a list of runs."""
    target = Path(out) if out else None
    if (sweep is None) == (not runs):
        raise UserError("vtok compare needs one of sweep=latest, sweep=DIR and runs=[A,B].")
    if sweep is None:
        return compare([Path(run) for run in runs], metrics=metrics, out=target)
    return compare(find_sweep(sweep, outputs), metrics=metrics, out=target)
