"""vtok report: one page about runs."""

from pathlib import Path

from vtok.errors import UserError
from vtok.sweeps import find_sweep
from vtok.tracking.comparison import compare_runs
from vtok.tracking.page import write_report_page
from vtok.tracking.report import runs_of_sweep, title_of
from vtok.tracking.runs import read_run


def report(*, sweep: str | None, runs: list[str], out: str, metrics: list[str], embed_mb: float, outputs: str) -> str:
    """Write a page about the runs of a sweep (a folder, or "latest"), or about run folders; returns what to say of it.

    out: NAME.html. metrics: names in summary.json; none gives the usual ones. embed_mb: megabytes of pictures and
    videos within the page, at most; the others are copied to `NAME_files/` beside it. Raises UserError where a folder
    holds no run, no run has figures, a metric is unknown, or the page cannot be written.
    """
    if (sweep is None) == (not runs):
        raise UserError("vtok report needs one of sweep=latest, sweep=DIR and runs=[A,B].")
    page = Path(out)
    if page.suffix != ".html":
        raise UserError(f"out={out}: a page is NAME.html.")
    if embed_mb < 0:
        raise UserError(f"embed_mb={embed_mb:g}: allowed is 0 or more; 0 puts all pictures and videos beside the page.")
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
