"""SIGTERM for a process that has started others."""

import signal
import subprocess
import sys
import textwrap
import time

import psutil

WORKERS = """
    import os, signal, sys, time
    from joblib import Parallel, delayed
    from vtok.common.stopping import passing_on_sigterm

    def work():
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        print(os.getpid(), flush=True)
        time.sleep(60)

    with passing_on_sigterm():
        Parallel(n_jobs=2)(delayed(work)() for _ in range(2))
"""

ALONE = """
    import time
    from vtok.common.stopping import passing_on_sigterm

    with passing_on_sigterm():
        print("ready", flush=True)
        time.sleep(60)
"""


def start(script: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_workers_end_with_the_process_that_started_them() -> None:
    process = start(WORKERS)
    assert process.stdout
    workers = [psutil.Process(int(process.stdout.readline())) for _ in range(2)]
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 143
    gone, left = psutil.wait_procs(workers, timeout=10)
    assert len(gone) == 2, left


def test_a_process_without_others_ends() -> None:
    process = start(ALONE)
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 143
    assert time.monotonic() - began < 20
