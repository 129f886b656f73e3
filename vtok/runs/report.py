"""Reporting a comparison: printed, as files, and in MLflow in the parent run of a sweep."""

from collections.abc import Sequence
from pathlib import Path

from vtok.common.tables import markdown, table
from vtok.runs.comparison import LEARNT, Comparison, compare_runs
from vtok.runs.learning import read_learning
from vtok.runs.learning_plot import draw_learning
from vtok.runs.mlflow_parent import log_to_parent, read_parent
from vtok.runs.page import write_plot_page
from vtok.runs.pairs import compare_pairs, find_baseline
from vtok.runs.plot import draw
from vtok.runs.saved_run import read_run
from vtok.runs.seeds import seed_table
from vtok.runs.sweep_folder import runs_of_sweep, title_of
from vtok.tracking.store import compare_url, open_command

DIFFERENCES, CURVES = "comparison_differences.csv", "comparison_learning.png"


def report(
    folders: Sequence[Path],
    *,
    metrics: Sequence[str],
    out: Path | None,
    title: str,
    baseline: str | None = None,
    learnt: float = LEARNT,
) -> Comparison:
    """Compare run folders and print the tables: of runs, of means over seeds, of differences, and of times to learn.

    Args:
        folders: the run folders.
        metrics: names of metrics in summary.json; none: the default ones.
        out: folder of the files, created if it is missing: `comparison.csv`, `.md`, `.png` and `.html`, the plot to
            point at, `comparison_differences.csv` if runs have answers, and `comparison_learning.png` if they were
            evaluated during training; None: no files.
        title: title of the page.
        baseline: group of runs that the others are compared with, see `find_baseline`.
        learnt: see `Comparison`.

    Raises:
        UserError: a folder holds no run, no run has metrics, or a metric or the baseline is unknown.
    """
    comparison = compare_runs([read_run(folder) for folder in folders], metrics, learnt=learnt)
    base = find_baseline(comparison, baseline)
    pairs, learning = compare_pairs(comparison, base), read_learning(comparison)
    sections = [
        ("means over the seeds, with 95 % intervals", seed_table(comparison)),
        (pairs.text(), pairs.rows()),
        (learning.text(), learning.rows()),
    ]
    sections = [(heading, rows) for heading, rows in sections if rows]
    sentences = [*pairs.sentences(), *pairs.untested, *learning.sentences(base)]
    print("\n\n".join([comparison.text(), *(f"{heading}:\n{table(rows)}" for heading, rows in sections)]))
    if sentences:
        print("\n" + "\n".join(sentences))
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        comparison.write_csv(out / "comparison.csv")
        texts = [f"{heading[0].upper()}{heading[1:]}:\n\n{markdown(rows)}\n" for heading, rows in sections]
        lists = ["\n".join(f"- {sentence}" for sentence in sentences) + "\n"] if sentences else []
        (out / "comparison.md").write_text("\n".join([comparison.markdown(), *texts, *lists]))
        draw(comparison, out / "comparison.png")
        write_plot_page(comparison, out / "comparison.html", title=title, pairs=pairs, learning=learning, base=base)
        written = [f"{out}/comparison.csv, .md, .png, .html"]
        if pairs.tested:
            pairs.write_csv(out / DIFFERENCES)
            written.append(DIFFERENCES)
        if learning.times:
            draw_learning(learning, out / CURVES)
            written.append(CURVES)
        print(f"\nwritten: {', '.join(written)}")
    return comparison


def report_sweep(
    sweep_dir: Path, *, metrics: Sequence[str], out: Path, baseline: str | None = None, learnt: float = LEARNT
) -> Comparison:
    """`report` on all runs of a sweep. If it has a parent run of its own in MLflow, the files are logged there too."""
    folders = runs_of_sweep(sweep_dir)
    comparison = report(folders, metrics=metrics, out=out, title=title_of(sweep_dir), baseline=baseline, learnt=learnt)
    parent = read_parent(sweep_dir)
    if parent is None or parent.of_study:
        return comparison
    log_to_parent(parent, sorted(out.glob("comparison*")))
    run_ids = [run.mlflow_run_id for run in comparison.runs if run.mlflow_run_id is not None]
    if len(run_ids) > 1:
        print(f"in MLflow: {open_command(parent.uri)}")
        print(f"     then: {compare_url(parent.uri, [parent.experiment_id], run_ids)}")
    return comparison
