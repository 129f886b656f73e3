"""vtok sync: sends metrics to a tracking server that could not be reached during the run."""

from vtok.cli.mlflow_run import mlflow_run_of, open_tracked
from vtok.common.errors import UserError
from vtok.runs.folder import find_run, load_config, run_of
from vtok.tracking.sender import JOURNAL, Sender, read_lines, sent_lines

TIMEOUT = 600.0  # seconds


def sync(
    *,
    run: str = "latest",
    outputs: str = "outputs",
) -> str:
    """Send the metrics of a run that its tracking server did not receive.

    Args:
        run: a run folder, a checkpoint of one, or latest: the newest run that finished or was stopped.
        outputs: folder in which runs are looked for.

    Raises:
        UserError: if the store still cannot be reached, or does not hold the run.
    """
    run_dir = run_of(find_run(run, outputs))
    # Refuses a folder that is not a run folder.
    load_config(run_dir)
    tracked = mlflow_run_of(run_dir)
    if tracked is None:
        return f"{run_dir} was not tracked; there is nothing to send"
    uri, run_id = tracked
    before = len(read_lines(run_dir / JOURNAL)) - sent_lines(run_dir)
    if not before:
        return f"the store {uri} has all metrics of {run_dir}"
    left = Sender(open_tracked(run_dir, uri, run_id), run_id, run_dir).close(TIMEOUT)
    if left:
        raise UserError(
            f"run={run}: the store {uri} received {before - left} of {before} batches of metrics. "
            "Run the same command again."
        )
    return f"sent {before} batches of metrics of {run_dir} to {uri}"
