"""vtok sync: figures that a tracking server did not take, sent to it."""

from vtok.cli.mlflow_run import open_tracked, tracked_as
from vtok.common.errors import UserError
from vtok.runs.folder import find_run, load_config, run_of
from vtok.tracking.sender import JOURNAL, Sender, read_lines, sent_lines

PATIENCE = 600.0  # seconds


def sync(
    *,
    run: str = "latest",
    outputs: str = "outputs",
) -> str:
    """Send the figures of a run that its tracking server did not take while it was away.

    Args:
        run: a run folder, a checkpoint of one, or latest: the newest run that finished or was stopped.
        outputs: folder in which runs are looked for.

    Raises:
        UserError: the store is still away, or does not hold the run.
    """
    run_dir = run_of(find_run(run, outputs))
    tracked = tracked_as(run_dir, load_config(run_dir))
    if tracked is None:
        return f"{run_dir} was not tracked, so that there is nothing to send"
    uri, run_id = tracked
    before = len(read_lines(run_dir / JOURNAL)) - sent_lines(run_dir)
    if not before:
        return f"the store {uri} has all figures of {run_dir}"
    left = Sender(open_tracked(run_dir, uri, run_id), run_id, run_dir).close(PATIENCE)
    if left:
        raise UserError(f"the store {uri} took {before - left} of {before} batches of figures; try again.")
    return f"sent {before} batches of figures of {run_dir} to {uri}"
