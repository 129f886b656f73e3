"""Runs the sweeps of a study, several at a time."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from vtok.common.errors import UserError
from vtok.common.overrides import command, override

if TYPE_CHECKING:
    from vtok.runs.mlflow_parent import Parent

# Seconds between two checks of the running sweeps.
PAUSE = 0.2


def run_sweeps(
    sweeps: Mapping[Path, Sequence[str]],
    *,
    parent: "Parent | None",
    jobs: int,
    then: Callable[[Path], Mapping[Path, Sequence[str]]],
) -> None:
    """Run sweeps in their folders, each in a process of its own: Hydra can run one sweep in a process.

    Args:
        sweeps: overrides of each sweep by its folder.
        parent: parent run of all of them in MLflow; None: they have none, or their own.
        jobs: number of sweeps at a time. Above 1, each one prints to `FOLDER.log`.
        then: called with the folder of each sweep that has finished; returns sweeps that come next. If it raises an
            error, no other sweep starts.

    Raises:
        UserError: a sweep has failed, or this process was asked to stop. The running sweeps finish first (they save
            checkpoints and end if this process is stopped); no other starts.
    """
    # MLflow takes seconds to import.
    from vtok.runs.mlflow_parent import write_parent

    waiting, failed = dict(sweeps), list[Path]()
    with running_sweeps() as (running, stopped):
        while running or (waiting and not failed and not stopped):
            if waiting and not failed and not stopped and len(running) < jobs:
                folder = next(iter(waiting))
                if parent is not None:
                    write_parent(folder, parent)
                running[folder] = start(folder, waiting.pop(folder), jobs=jobs)
                continue
            time.sleep(PAUSE)
            for folder in [one for one, process in running.items() if process.poll() is not None]:
                # A sweep that is stopped ends with an error as well.
                if running.pop(folder).returncode and not stopped:
                    failed.append(folder)
                if jobs > 1:
                    end = "stopped" if stopped else "failed" if folder in failed else "finished"
                    print(f"{end}: {folder}", flush=True)
                if folder not in failed and not stopped:
                    waiting = {**then(folder), **waiting}
    if stopped:
        raise UserError("The study was stopped. Resume it with the same command.")
    if failed:
        where = "its message" if jobs == 1 else str(log_of(failed[0]))
        raise UserError(f"{failed[0]}: this sweep has failed or was stopped. Read {where}, then start the study again.")


def sweep_command(arguments: Sequence[str]) -> list[str]:
    return [sys.executable, "-m", "vtok", "train", "-m", *arguments]


def log_of(folder: Path) -> Path:
    """The file that a sweep prints to, if several run at a time."""
    return folder.with_name(f"{folder.name}.log")


def start(folder: Path, overrides: Sequence[str], *, jobs: int) -> "subprocess.Popen[bytes]":
    """Start a sweep in its folder, as one of `jobs`."""
    arguments = [*overrides, override("hydra.sweep.dir", str(folder))]
    shown = command("vtok", "train", "-m", *arguments)
    if jobs == 1:
        print(f"\n{shown}", flush=True)
        return subprocess.Popen(sweep_command(arguments))
    print(f"\n{shown} > {log_of(folder)}", flush=True)
    # With PyTorch's default, each process would take all cores.
    threads = {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // jobs))}
    folder.parent.mkdir(parents=True, exist_ok=True)
    with log_of(folder).open("ab") as log:
        return subprocess.Popen(sweep_command(arguments), stdout=log, stderr=log, env={**threads, **os.environ})


@contextmanager
def running_sweeps() -> Iterator[tuple[dict[Path, "subprocess.Popen[bytes]"], list[int]]]:
    """The running processes, to which the caller adds, and the signals by which this process was asked to stop.

    SIGTERM is passed on to the processes. No process outlives the block.
    """
    running: dict[Path, subprocess.Popen[bytes]] = {}
    stopped: list[int] = []

    def stop(number: int, _: object = None) -> None:
        stopped.append(number)
        for process in running.values():
            process.terminate()

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield running, stopped
    except BaseException:
        # After Ctrl-C, too: a run that the terminal has interrupted saves its checkpoint all the same.
        stop(signal.SIGTERM)
        raise
    finally:
        for process in running.values():
            process.wait()
        signal.signal(signal.SIGTERM, before)
