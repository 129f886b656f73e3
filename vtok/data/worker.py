"""The processes that decode, and what they do when everything is told to stop."""

import multiprocessing
import os
import signal
import threading

from torch.cuda import is_initialized

LOOK_EVERY = 2.0  # seconds


def outlive_stops(worker_id: int) -> None:
    """A DataLoader's `worker_init_fn`: SIGINT and SIGTERM pass by, unless it is the main process that terminates.

    Ctrl-C and schedulers signal every process of a run, and the main one needs its workers until it has saved. They end
    when it closes the loader, when it terminates them, and a few seconds after its own end. Where the system does not
    say who sent a signal (macOS), SIGTERM ends a worker as it always did.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None and hasattr(signal, "sigtimedwait"):
        # Not ignored: a main process that fails terminates its workers, and waits for them without a limit.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_end_with, args=(parent.pid, os.getppid()), daemon=True).start()


def start_method(num_workers: int) -> str | None:
    """A DataLoader's `multiprocessing_context`: how its processes are started, None is as the system does it.

    A process that is forked while CUDA is in use inherits what the driver holds and no thread that would let go of it,
    and may hang or crash: then they are started afresh, and all that goes to them is pickled.
    """
    forks = multiprocessing.get_start_method() == "fork"
    return "forkserver" if num_workers and forks and is_initialized() else None


def _end_with(main: int, parent: int) -> None:
    """End this process when `main` terminates it, or when `parent`, which made it, is gone.

    torch looks after its parent, too, but then waits for data to be taken that nobody takes any more.
    """
    while os.getppid() == parent:
        told = signal.sigtimedwait({signal.SIGTERM}, LOOK_EVERY)
        if told is not None and told.si_pid == main:
            break
    # As torch's own handler does: any other code would be reported as a failure.
    os._exit(0)
