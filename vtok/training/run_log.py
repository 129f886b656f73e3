"""The lock, the log and the outcome of a run while it trains."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vtok.common.files import locked
from vtok.common.overrides import command, override
from vtok.runs.folder import shown, write_status
from vtok.tracking import Tracker

log = logging.getLogger("vtok")


class Stopped(Exception):
    """A signal stopped the run, which was saved and can be resumed. `signal` is the number of the signal."""

    def __init__(self, run_dir: Path, signal: int) -> None:
        resume = command(override("resume", shown(run_dir)))
        super().__init__(f"stopped by signal {signal} and saved. Resume it with {resume}")
        self.signal = signal


@contextmanager
def record_outcome(tracker: Tracker, run_dir: Path) -> Iterator[None]:
    """A context at whose end the tracker is closed and the outcome of the run is recorded."""
    try:
        yield
    except Stopped:
        tracker.finish("KILLED")
        raise
    except BaseException:
        log.debug("the run failed", exc_info=True)
        write_status(run_dir, "failed", tracker.run_id, tracker.uri)
        tracker.finish("FAILED")
        raise
    tracker.finish("FINISHED")


@contextmanager
def lock_and_log(run_dir: Path) -> Iterator[None]:
    """A context in which no other process can train in the run folder, and which has a log file.

    Raises:
        UserError: another process is training in it.
    """
    busy = f"{shown(run_dir)}: another process is training in this run folder. Wait until it ends, or use another one."
    with locked(run_dir / ".lock", busy=busy), log_file(run_dir / "train.log"):
        yield


@contextmanager
def log_file(path: Path) -> Iterator[None]:
    """A context in which the package also logs to a file, to which a resumed run appends."""
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log.addHandler(handler)
    log.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        log.removeHandler(handler)
        handler.close()
