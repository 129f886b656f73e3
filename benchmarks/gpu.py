"""What VTok does on a GPU, in under ten minutes: `make gpu`.

    python benchmarks/gpu.py
    python benchmarks/gpu.py parts=[smoke,paper]
    python benchmarks/gpu.py parts=[study]     # a long part, in under eight minutes; again, and it resumes
    python benchmarks/gpu.py list=true
    python benchmarks/gpu.py toy=true          # every part at toy size, on a CPU too

from the root of a checkout, with vtok[joblib] and pytest installed. Each part is a process with a time limit and a log
of its own, so a part that fails does not stop the others. The end is a table: part, metric, value, goal.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from omegaconf import DictConfig

from gpu_long import long_parts, progress
from gpu_parts import PARTS, ROOT, Part, Value
from vtok.cli.main import run_script
from vtok.common.errors import UserError
from vtok.common.setting_types import Count, Positive
from vtok.common.tables import table
from vtok.common.weights import check_available
from vtok.config.jobs import check_jobs
from vtok.config.weights import weights_of_run

# Seconds in which the runs of a part that is stopped can save a checkpoint.
GRACE = 30


@dataclass(frozen=True)
class Outcome:
    """The end of a part.

    Attributes:
        part: the part.
        folder: its folder.
        code: its exit code; None: it ran out of time.
        seconds: seconds that it took.
        values: its numbers.
        last: the last line of its log, or how far it has come.
    """

    part: Part
    folder: Path
    code: int | None
    seconds: float
    values: list[Value]
    last: str

    @property
    def line(self) -> str:
        stopped = "stopped" if self.part.resumes else "too slow"
        end = stopped if self.code is None else "ok" if self.code == 0 else f"exit {self.code}"
        return f"{self.part.name:<8} {end:<8} {self.seconds:4.0f} s  {self.last[:120]}"

    @property
    def rows(self) -> list[tuple[str, str, str, str]]:
        """Its rows of the table."""
        if self.values:
            return [(self.part.name, *value.row) for value in self.values]
        if self.code is None and self.part.resumes:
            return [(self.part.name, "not finished", self.last, "")]
        return [(self.part.name, "failed", str(self.folder / "log"), "")]


def gpu(
    *,
    parts: Sequence[str] = (),
    methods: Sequence[str] = ("vtok", "frame_sampling", "vtok_no_subtraction"),
    seeds: Count = 8,
    toy: bool = False,
    list: bool = False,
    out: str = "outputs/gpu",
    scale: Positive = 1.0,
    overrides: Sequence[str] = (),
) -> str:
    """Run parts, print a line after each, and return a table of their numbers and goals.

    Takes train's overrides for the long parts study, generate and real, such as data.source.root=PATH.

    Args:
        parts: names of the parts to run; none: all but the long ones, or with toy=true all.
        methods: methods of the part `study`.
        seeds: seeds of each method of the part `study`.
        toy: run each part at toy size, on a CPU too; its numbers mean nothing.
        list: only list the parts.
        out: folder in which each check has a folder with its logs and results, and each long part has its own.
        scale: factor on the time limits.
        overrides: overrides of train for the long parts.

    Raises:
        UserError: an unknown part, a long part that cannot run, or no GPU.
    """
    long = long_parts(methods=methods, seeds=seeds, overrides=overrides)
    known = {part.name: part for part in (*PARTS, *long)}
    if list:
        rows = [(name, f"{one.seconds} s", one.question) for name, one in known.items()]
        return table([("part", "limit", "question"), *rows])
    if odd := [name for name in parts if name not in known]:
        raise UserError(f"parts={odd[0]}: unknown part. Use {', '.join(known)}.")
    chosen = [known[name] for name in parts] or [*PARTS, *(long if toy else ())]
    if overrides and not any(part in long for part in chosen):
        raise UserError(f"{overrides[0]}: only long parts take overrides. Add parts=[{long[0].name}], or leave it out.")
    for part in chosen if not toy else ():
        check_part(part)
    if not (toy or torch.cuda.is_available()):
        raise UserError("torch sees no GPU. Install a torch with CUDA, or try the check at toy size: toy=true.")
    folder, moment = Path(out).resolve(), time.strftime("%Y-%m-%d_%H-%M-%S")
    outcomes = []
    for part in chosen:
        # At toy size nothing is resumed: the next change of the code should be tested too.
        place = folder if part.resumes and not toy else folder / moment
        outcomes.append(run_part(part, place / part.name, toy=toy, scale=scale))
        print(outcomes[-1].line, flush=True)
    card = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    return table([(card, "metric", "value", "goal"), *(row for outcome in outcomes for row in outcome.rows)])


def check_part(part: Part) -> None:
    """Raise UserError if the run of a part cannot start, for example because the path of its videos is missing."""
    if not part.trains:
        return
    try:
        check_jobs([*part.trains], multirun=True, before_planning=check_weights)
    except UserError as error:
        raise UserError(f"parts=[{part.name}]: {error}") from error


def check_weights(configs: Sequence[DictConfig]) -> None:
    check_available(weights for config in configs for weights in weights_of_run(config))


def run_part(part: Part, folder: Path, *, toy: bool, scale: float) -> Outcome:
    """Run a part as a process; whatever goes wrong in it is in its outcome."""
    folder.mkdir(parents=True, exist_ok=True)
    log, began = folder / "log", time.monotonic()
    command = (part.toy if toy else part.full)(folder)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))}
    with log.open("w", encoding="utf-8") as stream:
        # A session of its own, so that all its processes can be stopped.
        process = subprocess.Popen(
            command, stdout=stream, stderr=subprocess.STDOUT, env=environment, start_new_session=True
        )
        code = wait(process, scale * part.seconds, grace=GRACE if part.resumes else 0)
    seconds = time.monotonic() - began
    lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    last = lines[-1] if lines else ""
    if code is None and part.resumes:
        last = f"{progress(folder)}; the same command resumes it"
    values = part.values(folder, seconds) if code == 0 else []
    for file in [file for pattern in part.summary for file in folder.glob(pattern)]:
        (folder / "summary").mkdir(exist_ok=True)
        shutil.copy(file, folder / "summary" / file.name)
    return Outcome(part, folder, code, seconds, values, last)


def wait(process: "subprocess.Popen[bytes]", seconds: float, *, grace: float) -> int | None:
    """The exit code of a process; None: it took too long, and all processes of its session were stopped.

    Args:
        process: process that leads a session.
        seconds: time limit.
        grace: seconds between the signal to stop and the end.
    """
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        return None
    finally:
        if process.returncode is None:
            stop(process, grace)


def stop(process: "subprocess.Popen[bytes]", grace: float) -> None:
    """Stop all processes of a session, and kill those that are still there after `grace` seconds."""
    # There is no such session any more when all its processes have ended.
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
        ends = time.monotonic() + grace
        while time.monotonic() < ends:
            # A process that has ended is in its session until it is waited for.
            process.poll()
            os.killpg(process.pid, 0)
            time.sleep(0.2)
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


if __name__ == "__main__":
    sys.exit(run_script(gpu))
