"""torch's profiler over a few steps of a run."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile, schedule

WAIT, WARM_UP = 2, 2


class NoProfile:
    """Replaces the profiler when nothing is profiled."""

    def step(self) -> None: ...


@contextmanager
def profiler(steps: int, run_dir: Path, *, is_main: bool) -> Iterator[NoProfile | profile]:
    """Profile `steps` steps of the first process, after the first few.

    The results are a Chrome trace and a table of the most expensive operators, in run_dir/profile.
    """
    if steps == 0 or not is_main:
        yield NoProfile()
        return
    folder = run_dir / "profile"
    folder.mkdir(exist_ok=True)

    def write(done: profile) -> None:
        done.export_chrome_trace(str(folder / "trace.json"))
        order = "self_cuda_time_total" if torch.cuda.is_available() else "self_cpu_time_total"
        table = done.key_averages().table(sort_by=order, row_limit=40)
        (folder / "operators.txt").write_text(table, encoding="utf-8")

    activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if torch.cuda.is_available() else [])
    plan = schedule(wait=WAIT, warmup=WARM_UP, active=steps, repeat=1)
    with profile(activities=activities, schedule=plan, on_trace_ready=write) as running:
        yield running
