"""Ending the processes that this one has started."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import psutil


@contextmanager
def passing_on_sigterm() -> Iterator[None]:
    """A context in which SIGTERM is passed on to the child processes; without any, it raises SystemExit.

    joblib's workers do not notice that their parent was ended, and would go on. A worker that trains saves a checkpoint
    and exits, by which joblib ends here too. A process that handles SIGTERM itself meanwhile is not affected.
    """
    own = os.getpid()

    def pass_on(number: int, frame: FrameType | None) -> None:
        # A forked child inherits the handler; it ends alone.
        children = psutil.Process().children() if os.getpid() == own else []
        for child in children:
            child.terminate()
        if not children:
            raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, pass_on)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
