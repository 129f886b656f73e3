"""vtok sync: figures that a tracking server did not take, sent to it."""

from vtok.errors import UserError
from vtok.runs import find_run, load_config, read_status, run_of
from vtok.tracking.sender import JOURNAL, Sender, read_lines, sent_lines
from vtok.tracking.store import open_store, resolve_uri

PATIENCE = 600.0  # seconds


def sync(*, run: str, outputs: str) -> str:
    """Send what is left of a run's figures; returns what to tell.

    Raises:
        UserError: the store is still away.
    """
    run_dir = run_of(find_run(run, outputs))
    config, run_id = load_config(run_dir), read_status(run_dir).get("mlflow_run_id")
    if run_id is None or "uri" not in config.tracking:
        return f"{run_dir} was not tracked, so that there is nothing to send"
    before = len(read_lines(run_dir / JOURNAL)) - sent_lines(run_dir)
    if not before:
        return f"the store {config.tracking.uri} has all figures of {run_dir}"
    left = Sender(open_store(resolve_uri(config.tracking.uri)), run_id, run_dir).close(PATIENCE)
    if left:
        raise UserError(
            f"the store {config.tracking.uri} took {before - left} of {before} batches of figures; try again."
        )
    return f"sent {before} batches of figures of {run_dir} to {config.tracking.uri}"
