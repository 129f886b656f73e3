"""Reporting a comparison: printed, as files, and in MLflow in the parent run of a sweep."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mlflow.exceptions import MlflowException

from vtok.common.errors import UserError
from vtok.common.foreign_files import read_mapping
from vtok.common.tables import markdown, table
from vtok.runs.comparison import Comparison, compare_runs
from vtok.runs.page import write_plot_page
from vtok.runs.plot import draw
from vtok.runs.saved_run import find_runs, read_run
from vtok.runs.seeds import seed_table
from vtok.tracking.store import compare_url, database_file, open_command, open_store

PARENT_FILE = "mlflow_parent.json"
ARTIFACT_FOLDER = "comparison"


@dataclass(frozen=True)
class Parent:
    """The parent run of a sweep in MLflow, as saved in the sweep folder's `mlflow_parent.json`."""

    uri: str
    experiment_id: str
    run_id: str


def read_parent(sweep_dir: Path) -> Parent | None:
    """The parent run of a sweep; None if it has none.

    Raises:
        UserError: `mlflow_parent.json` cannot be read.
    """
    file = sweep_dir / PARENT_FILE
    if not file.is_file():
        return None
    written = read_mapping(file)
    texts = [written.get(name) for name in ("uri", "experiment_id", "run_id")]
    if not all(isinstance(text, str) for text in texts):
        raise UserError(f"{file} must have the keys uri, experiment_id and run_id. Delete it if the run is gone.")
    return Parent(*map(str, texts))


def write_parent(sweep_dir: Path, parent: Parent) -> None:
    sweep_dir.mkdir(parents=True, exist_ok=True)
    written = {"run_id": parent.run_id, "uri": parent.uri, "experiment_id": parent.experiment_id}
    (sweep_dir / PARENT_FILE).write_text(json.dumps(written))


def report(folders: Sequence[Path], *, metrics: Sequence[str], out: Path | None, title: str) -> Comparison:
    """Compare run folders and print the table, with means over the seeds where runs differ by those alone.

    Where `out` is given, it gets `comparison.csv`, `.md`, `.png`, and `.html`, the plot to point at, headed `title`.
    """
    comparison = compare_runs([read_run(folder) for folder in folders], metrics)
    seeds = seed_table(comparison)
    print(comparison.text())
    if seeds:
        print(f"\nmeans over the seeds, with 95 % intervals:\n{table(seeds)}")
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        comparison.write_csv(out / "comparison.csv")
        means = f"\nMeans over the seeds, with 95 % intervals:\n\n{markdown(seeds)}\n" if seeds else ""
        (out / "comparison.md").write_text(comparison.markdown() + means)
        draw(comparison, out / "comparison.png")
        write_plot_page(comparison, out / "comparison.html", title=title)
        print(f"\nwritten: {out}/comparison.csv, .md, .png, .html")
    return comparison


def report_sweep(sweep_dir: Path, *, metrics: Sequence[str], out: Path) -> Comparison:
    """`report` on all runs of a sweep. If the sweep has a parent run in MLflow, the files are logged there too."""
    folders = runs_of_sweep(sweep_dir)
    comparison = report(folders, metrics=metrics, out=out, title=title_of(sweep_dir))
    parent = read_parent(sweep_dir)
    if parent is None:
        return comparison
    log_to_parent(parent, sorted(out.glob("comparison.*")))
    run_ids = [run.mlflow_run_id for run in comparison.runs if run.mlflow_run_id is not None]
    if len(run_ids) > 1:
        print(f"in MLflow: {open_command(parent.uri)}")
        print(f"     then: {compare_url(parent.uri, [parent.experiment_id], run_ids)}")
    return comparison


def runs_of_sweep(sweep_dir: Path) -> list[Path]:
    """The run folders of a sweep.

    Raises:
        UserError: there are none.
    """
    folders = find_runs(sweep_dir)
    if not folders:
        raise UserError(f"{sweep_dir} holds no run folder (none with a config.yaml). Give the folder of a sweep.")
    return folders


def title_of(sweep_dir: Path) -> str:
    return f"Sweep {sweep_dir.name}"


def log_to_parent(parent: Parent, files: Sequence[Path]) -> None:
    """Log files to the parent run of a sweep.

    Raises:
        UserError: the store no longer exists, or it refuses the files.
    """
    database = database_file(parent.uri)
    if database is not None and not database.exists():
        raise UserError(
            f"The sweep's MLflow store {parent.uri} no longer exists. The comparison was not logged there. "
            f"Delete {PARENT_FILE} in the sweep folder, or restore the store."
        )
    client = open_store(parent.uri)
    try:
        for file in files:
            client.log_artifact(parent.run_id, str(file), ARTIFACT_FOLDER)
    except MlflowException as error:
        raise UserError(
            f"The sweep's MLflow store {parent.uri} refused the comparison ({error}). "
            f"Start the store, or delete {PARENT_FILE} in the sweep folder."
        ) from error
