"""Runs the sweeps of a study, several at a time."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from vtok.common.errors import UserError
from vtok.common.overrides import command, override
from vtok.runs.report import read_parent, write_parent
from vtok.runs.saved_run import find_runs

# Seconds between two looks at the sweeps that run.
PAUSE = 0.2


def run_sweeps(sweeps: Mapping[Path, Sequence[str]], *, study_dir: Path, jobs: int) -> None:
    """Run sweeps in their folders, each in a process of its own: Hydra can run one sweep in a process.

    All sweeps have one parent run in MLflow, that of the study's first sweep. The others wait until it has begun.

    Args:
        sweeps: overrides of each sweep by its folder.
        study_dir: folder of the study.
        jobs: number of runs at a time. Above 1, each sweep prints to `FOLDER.log`.

    Raises:
        UserError: a run has failed, or was stopped. Sweeps that run then are waited for, and no other is begun.
    """
    at_once = min(jobs, len(sweeps))
    each = jobs // at_once
    launcher = ["hydra/launcher=joblib", f"hydra.launcher.n_jobs={each}"] if each > 1 else []
    waiting, running, failed = dict(sweeps), dict[Path, subprocess.Popen[bytes]](), list[Path]()
    with stopping(running):
        while running or (waiting and not failed):
            if waiting and not failed and len(running) < (at_once if _is_begun(study_dir, running) else 1):
                folder = next(iter(waiting))
                overrides = [*waiting.pop(folder), *launcher]
                running[folder] = start(folder, overrides, study_dir=study_dir, jobs=jobs)
                continue
            time.sleep(PAUSE)
            for folder in [one for one, process in running.items() if process.poll() is not None]:
                failed += [folder] if running.pop(folder).returncode else []
    if failed:
        log = f" {log_of(failed[0])} says why." if jobs > 1 else " Read its message."
        raise UserError(f"{failed[0]}: this sweep has failed or was stopped.{log} Then start the study again.")


def sweep_command(arguments: Sequence[str]) -> list[str]:
    return [sys.executable, "-m", "vtok", "train", "-m", *arguments]


def log_of(folder: Path) -> Path:
    """The file that a sweep prints to, if several run at a time."""
    return folder.with_name(f"{folder.name}.log")


def start(folder: Path, overrides: Sequence[str], *, study_dir: Path, jobs: int) -> "subprocess.Popen[bytes]":
    """Start a sweep in its folder, under the study's parent run if there is one."""
    if (parent := read_parent(study_dir)) is not None:
        write_parent(folder, parent)
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
def stopping(running: Mapping[Path, "subprocess.Popen[bytes]"]) -> Iterator[None]:
    """Within the block, the processes that run are stopped if this one is, and are waited for."""

    def stop(*_: object) -> None:
        for process in running.values():
            process.terminate()

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except BaseException as error:
        # After Ctrl-C the terminal has interrupted them too.
        if not isinstance(error, KeyboardInterrupt):
            stop()
        for process in running.values():
            process.wait()
        raise
    finally:
        signal.signal(signal.SIGTERM, before)


def _is_begun(study_dir: Path, running: Mapping[Path, object]) -> bool:
    """Whether the study has a parent run, or will have none, because a sweep without one has begun its runs."""
    if read_parent(study_dir) is None:
        first = next((parent for one in running if (parent := read_parent(one)) is not None), None)
        if first is None:
            return any(find_runs(one) for one in running)
        write_parent(study_dir, first)
    return True
