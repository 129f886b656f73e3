"""vtok report: writes an HTML page about runs."""

from collections.abc import Sequence

from vtok.common.errors import UserError
from vtok.common.paths import user_path
from vtok.common.setting_types import CountOrZero, NotNegative, PositiveFraction
from vtok.runs.comparison import LEARNT, compare_runs
from vtok.runs.folder import find_run, run_of
from vtok.runs.saved_run import read_run
from vtok.runs.sweep_folder import find_sweep, runs_of_sweep, title_of


def report(
    *,
    sweep: str | None = None,
    runs: Sequence[str] = (),
    out: str = "report.html",
    metrics: Sequence[str] = (),
    learnt: PositiveFraction = LEARNT,
    explain: CountOrZero = 0,
    embed_mb: NotNegative = 32.0,
    outputs: str = "outputs",
    allowed_targets: Sequence[str] = (),
) -> str:
    """Write one HTML page about a sweep or a list of runs, which opens in a browser without a server or a network.

    It shows results with intervals, a plot, curves over training steps, videos and contact sheets side by side, and the
    command and commit of each run. Images and videos that are too large for the page are written to NAME_files beside
    it; keep both together.

    Args:
        sweep: a sweep folder, or latest.
        runs: one or more run folders or checkpoints, [A,B].
        out: HTML file; an existing one is replaced.
        metrics: names of metrics in summary.json; []: the default ones.
        learnt: accuracy on validation clips from which a category counts as learnt, for the time to learn it.
        explain: number of test answers of each run, of different categories, for which it is shown which tokens they
            used; the runs are loaded for it, and the pictures stay in their folders. 0: those already there.
        embed_mb: largest total size of images and videos within the page, in megabytes; 0: all in NAME_files.
        outputs: folder in which runs are looked for.
        allowed_targets: packages of your own whose components may be built, [A,B]; only needed to explain answers.

    Raises:
        UserError: if a folder holds no run, an answer cannot be explained, or the page cannot be written.
    """
    if (sweep is None) == (not runs):
        raise UserError("vtok report takes either sweep or runs. Set one of sweep=latest, sweep=DIR and runs=[A,B].")
    page = user_path(out)
    if page.suffix != ".html":
        raise UserError(f"out={out}: must be an HTML file. Use out=NAME.html.")
    if sweep is None:
        folders = [run_of(find_run(run, outputs, setting="runs")) for run in runs]
        title = f"{len(runs)} runs" if len(runs) > 1 else folders[0].name
    else:
        folder = find_sweep(sweep, outputs)
        folders, title = runs_of_sweep(folder), title_of(folder)
    comparison = compare_runs([read_run(folder) for folder in folders], metrics, learnt=learnt)
    if explain:
        from vtok.inference.explain import explain_test_answers

        for folder in folders:
            explain_test_answers(str(folder), number=explain, outputs=outputs, allowed_targets=allowed_targets)
    from vtok.runs.page import write_report_page

    try:
        page.parent.mkdir(parents=True, exist_ok=True)
        num_files = write_report_page(comparison, page, title=title, embed_mb=embed_mb)
    except OSError as error:
        raise UserError(f"out={out}: the page cannot be written ({error.strerror}). Use another file.") from error
    size = page.stat().st_size / 2**20
    if not num_files:
        return f"{page} ({size:.1f} MB, complete)"
    return f"{page} ({size:.1f} MB), with {num_files} files in {page.stem}_files; keep both together"
