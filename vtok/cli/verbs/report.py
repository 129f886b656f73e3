"""vtok report: one page about runs."""

from collections.abc import Sequence
from pathlib import Path

from vtok.common.errors import UserError
from vtok.common.setting_types import NotNegative
from vtok.runs.comparison import compare_runs
from vtok.runs.page import write_report_page
from vtok.runs.report import runs_of_sweep, title_of
from vtok.runs.saved_run import read_run
from vtok.runs.sweep_folder import find_sweep


def report(
    *,
    sweep: str | None = None,
    runs: Sequence[str] = (),
    out: str = "report.html",
    metrics: Sequence[str] = (),
    embed_mb: NotNegative = 32.0,
    outputs: str = "outputs",
) -> str:
    """One page about a sweep, or a list of runs, that opens in a browser without a server or a network.

    Results with their intervals, the plot, curves over the steps, videos and contact sheets side by side, the command
    and the commit of each run. What is too much for the page lies beside it in NAME_files, which belongs to it.

    Args:
        sweep: a sweep's folder, or latest.
        runs: run folders, [A,B]; one will do.
        out: HTML file; one that is there is replaced.
        metrics: names in summary.json; []: the usual ones.
        embed_mb: largest size of the pictures and videos within the page, in megabytes; 0: all beside it.
        outputs: folder in which runs are looked for.
    """
    if (sweep is None) == (not runs):
        raise UserError("vtok report needs one of sweep=latest, sweep=DIR and runs=[A,B].")
    page = Path(out)
    if page.suffix != ".html":
        raise UserError(f"out={out}: a page is NAME.html.")
    if sweep is None:
        folders, title = [Path(run) for run in runs], f"{len(runs)} runs" if len(runs) > 1 else Path(runs[0]).name
    else:
        folder = find_sweep(sweep, outputs)
        folders, title = runs_of_sweep(folder), title_of(folder)
    comparison = compare_runs([read_run(folder) for folder in folders], metrics)
    try:
        page.parent.mkdir(parents=True, exist_ok=True)
        beside = write_report_page(comparison, page, title=title, embed_mb=embed_mb)
    except OSError as error:
        raise UserError(f"out={out}: the page cannot be written ({error.strerror}); name another place.") from error
    size = page.stat().st_size / 2**20
    if not beside:
        return f"{page} ({size:.1f} MB, all within)"
    return f"{page} ({size:.1f} MB), with {beside} files in {page.stem}_files beside it, which belong to it"
