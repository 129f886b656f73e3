"""Start and shutdown of the processes that decode."""

import multiprocessing
import os
import signal
import threading

from torch.cuda import is_initialized

LOOK_EVERY = 2.0  # seconds
# Slow imports of a worker, which the fork server does once for all workers that it starts.
PRELOADED = ["av", "torch.utils.data", "transformers.tokenization_utils_tokenizers"]


def ignore_stop_signals(worker_id: int) -> None:
    """A DataLoader's `worker_init_fn`: a worker ignores SIGINT, and SIGTERM from any process but the main one.

    Ctrl-C and schedulers signal every process of a run, but the main process needs its workers until it has saved. A
    worker ends when the main process closes the loader or terminates it, and a few seconds after the main process
    ended. macOS does not report who sent a signal; there SIGTERM always ends a worker.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None and hasattr(signal, "sigtimedwait"):
        # Blocked and not ignored: a main process that fails terminates its workers, and waits for them without limit.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_exit_with_main, args=(parent.pid, os.getppid()), daemon=True).start()


def start_method(num_workers: int) -> str | None:
    """A DataLoader's `multiprocessing_context`: the start method of its processes; None: the system's default.

    A process that is forked while CUDA is in use inherits the driver's locks but not its threads, and may hang or
    crash. Workers then start from a fork server, and everything sent to them is pickled.
    """
    if not (num_workers and multiprocessing.get_start_method() == "fork" and is_initialized()):
        return None
    # Otherwise the workers of each evaluation would import torch anew, which takes seconds.
    multiprocessing.get_context("forkserver").set_forkserver_preload(PRELOADED)
    return "forkserver"


def _exit_with_main(main: int, parent: int) -> None:
    """Exit when the process `main` sends SIGTERM, or when the process `parent`, which started this one, has ended.

    torch also watches the parent, but then waits for its queue to be emptied, which nobody does any more.
    """
    while os.getppid() == parent:
        received = signal.sigtimedwait({signal.SIGTERM}, LOOK_EVERY)
        if received is not None and received.si_pid == main:
            break
    # torch reports any other exit code as a failure.
    os._exit(0)
