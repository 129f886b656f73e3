"""What stands around a run while it trains: its lock, its log, and the note of how it ended."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from vtok.common.errors import UserError
from vtok.common.overrides import command, override
from vtok.runs.folder import shown, write_status
from vtok.tracking import Tracker

log = logging.getLogger("vtok")


class Stopped(Exception):
    """The run was told to stop, saved, and can be resumed. `signal` is the signal's number."""

    def __init__(self, run_dir: Path, signal: int) -> None:
        resume = command(override("resume", shown(run_dir)))
        super().__init__(f"stopped by signal {signal} and saved; go on with {resume}")
        self.signal = signal


@contextmanager
def locked(run_dir: Path) -> Iterator[None]:
    """One process at a time trains in a run folder.

    Raises:
        UserError: another one does.
    """
    lock = FileLock(run_dir / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise UserError(f"{shown(run_dir)}: another process is training in this run folder.") from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def recorded(tracker: Tracker, run_dir: Path) -> Iterator[None]:
    """Closes the tracker and notes how the run ended, however it does."""
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
def occupied(run_dir: Path) -> Iterator[None]:
    """A run folder that is written: locked, and with a log."""
    with locked(run_dir), log_file(run_dir / "train.log"):
        yield


@contextmanager
def log_file(path: Path) -> Iterator[None]:
    """All that the package logs, in a file as well; a resumed run goes on in the same file."""
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log.addHandler(handler)
    log.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        log.removeHandler(handler)
        handler.close()
