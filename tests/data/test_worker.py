"""A loader's processes ignore signals to the process group, as Ctrl-C and schedulers send them."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

pytestmark = pytest.mark.skipif(not hasattr(signal, "sigtimedwait"), reason="the system does not say who sent a signal")

LIMIT = 120  # seconds: for a busy machine; no test takes it when all is well
MAIN = """
import multiprocessing, signal, sys
from torch.utils.data import DataLoader
from vtok.data import worker

worker.LOOK_EVERY = 0.1
noted = []
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda number, frame: noted.append(number))


def tell(*words):
    print(*words, flush=True)


def go_on():
    # Further than what was ready before the signal: 2 processes with 2 batches each.
    for _ in range(20):
        next(batches)


# More than a pipe holds: a process that hands it on can end only when it is taken, or when it need not be.
clips = ["x" * 1_000_000] * 100_000
batches = iter(DataLoader(clips, batch_size=1, num_workers=2, worker_init_fn=worker.ignore_stop_signals))
go_on()
tell("ready")
for line in sys.stdin:
    go_on()
    tell("noted", *map(int, noted))
"""
CLOSES = """
workers = multiprocessing.active_children()
del batches
tell("closed", *(process.exitcode for process in workers))
"""
TERMINATES = """
workers = multiprocessing.active_children()
signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch's own raises here for a process that is gone
for process in workers:
    process.terminate()
for process in workers:
    process.join()
tell("terminated", *(process.exitcode for process in workers))
"""


@contextmanager
def running(code: str) -> Iterator[subprocess.Popen[str]]:
    """The code as the main process of a group of its own, once its workers decode; the group is gone afterwards."""
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as main:
        try:
            first = main.stdout.readline()
            assert first == "ready\n", main.communicate(timeout=LIMIT)
            yield main
        finally:
            with suppress(ProcessLookupError):
                os.killpg(main.pid, signal.SIGKILL)


def end(main: subprocess.Popen[str]) -> tuple[str, str]:
    """What was still to be said on stdout and stderr. Both end only when the last process that holds them has ended."""
    return main.communicate(timeout=LIMIT)


def test_batches_arrive_after_all_processes_received_a_stop_signal() -> None:
    with running(MAIN + CLOSES) as main:
        expected = []
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
            os.killpg(main.pid, number)
            expected.append(int(number))
            main.stdin.write("go on\n")
            main.stdin.flush()
            answer = main.stdout.readline().split()
            assert answer == ["noted", *map(str, expected)], main.communicate(timeout=LIMIT)
        out, err = end(main)
    assert (out, err, main.returncode) == ("closed 0 0\n", "", 0)


def test_a_main_process_that_terminates_its_workers_ends_them() -> None:
    with running(MAIN + TERMINATES) as main:
        os.killpg(main.pid, signal.SIGTERM)
        # The system keeps one pending signal of a kind: a second one that comes before the first was seen is lost.
        main.stdin.write("go on\n")
        main.stdin.flush()
        assert main.stdout.readline().split() == ["noted", str(int(signal.SIGTERM))]
        out, _ = end(main)
    assert (out, main.returncode) == ("terminated 0 0\n", 0)


def test_workers_do_not_outlive_a_main_process_that_was_killed() -> None:
    with running(MAIN) as main:
        main.kill()
        assert end(main) == ("", "")
    assert main.returncode == -signal.SIGKILL
