"""The parts of `make gpu`: their commands, limits, and the numbers in their files."""

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vtok.data.clip import METRIC_SUFFIXES

ROOT = Path(__file__).resolve().parents[1]
VTOK = (sys.executable, "-m", "vtok")
# The models of `vtok cost`: CLIP-L/336, and a language model of the size of LLaMA-3-8B.
FULL_COST = (
    "backbone=clip", "backbone.weights=null", "backbone.frozen=true", "backbone.dtype=bfloat16", "mllm=llava_next",
    "mllm.weights=null", "mllm.projector=false", "mllm.dtype=bfloat16", "mllm.frozen=true", "frames=[30,121]",
    "tokeniser.stride=4", "tokeniser.grid_size=4",
)  # fmt: skip
TOY_MODEL = ("mllm.width=32", "mllm.layers=1", "mllm.heads=2", "data.make_workers=1", "loader.num_workers=0")
TOY_COST = ("frames=[12]", "runs=1", "backbone.width=8", "backbone.feature_dim=16", *TOY_MODEL[:3])
TOY_JOB = ("data.train_clips=8", "data.validation_clips=4", "data.test_clips=4", "clip.num_frames=12", *TOY_MODEL)


@dataclass(frozen=True)
class Value:
    """A measured number beside its goal.

    Attributes:
        metric: what was measured.
        value: the number.
        unit: its unit.
        goal: the goal as text; "": none.
        met: whether the goal was reached; None: there is none.
    """

    metric: str
    value: float
    unit: str
    goal: str = ""
    met: bool | None = None

    @property
    def row(self) -> tuple[str, str, str]:
        met = {True: "met", False: "missed", None: ""}[self.met]
        return self.metric, f"{self.value:.4g} {self.unit}".strip(), f"{self.goal}  {met}".strip()


@dataclass(frozen=True)
class Part:
    """A process of the check.

    Attributes:
        name: name of the part.
        question: the question that it answers.
        seconds: time limit.
        full: its command at full size, from (folder for its files).
        toy: its command at toy size.
        values: the numbers in its files, from (folder, seconds that it took).
        summary: small files of its folder to take away, as patterns; () if its numbers are enough.
        trains: overrides of a run, which are checked before any part starts; () if there is nothing to check.
        resumes: whether a part that ran out of time is resumed by the same command.
    """

    name: str
    question: str
    seconds: int
    full: Callable[[Path], Sequence[str]]
    toy: Callable[[Path], Sequence[str]]
    values: Callable[[Path, float], list[Value]]
    summary: Sequence[str] = ()
    trains: Sequence[str] = ()
    resumes: bool = False


def at_most(metric: str, value: float, unit: str, goal: float) -> Value:
    return Value(metric, value, unit, f"at most {goal:g}", value <= goal)


def at_least(metric: str, value: float, unit: str, goal: float) -> Value:
    return Value(metric, value, unit, f"at least {goal:g}", value >= goal)


def read(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8"))


def run_options(folder: Path) -> tuple[str, ...]:
    """Overrides of a run without tracking, whose data is in a folder."""
    return "tracking=none", "trainer.progress=false", f"outputs={folder}"


def run_command(folder: Path, *overrides: str) -> list[str]:
    """`vtok train` in a folder of its own."""
    return [*VTOK, "train", *run_options(folder), f"hydra.run.dir={folder / 'run'}", *overrides]


def script(name: str, *arguments: str) -> list[str]:
    return [sys.executable, str(ROOT / "benchmarks" / f"{name}.py"), *arguments]


def paper_command(folder: Path, *arguments: str) -> list[str]:
    return script("paper", f"out={folder / 'out.json'}", *arguments)


def cost_command(folder: Path, *arguments: str) -> list[str]:
    chosen = "tokenisers=[vtok,frame_sampling]"
    return [*VTOK, "cost", chosen, f"out={folder / 'out.json'}", f"outputs={folder}", *arguments]


def tests_command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", "0", *arguments]


def toy_paper(folder: Path) -> list[str]:
    """`recipe=paper_tiny`, whose checkpoints are written first."""
    from vtok.hub.toys import make_toys

    make_toys(folder / "toys")
    return paper_command(folder, "recipe=paper_tiny", "random=false", "steps=1", f"outputs={folder}")


def seconds_alone(folder: Path, seconds: float) -> list[Value]:
    return [Value("seconds", seconds, "s")]


def accuracies(summary: dict[str, Any], branch: str) -> dict[str, float]:
    """The accuracies by category of a branch ("alignment", "generate", ...) in a run's summary."""
    return {
        name.removeprefix(f"{branch}/"): value
        for name, value in summary.items()
        if name.startswith(f"{branch}/") and name.count("/") == 1 and not name.endswith(METRIC_SUFFIXES)
    }


def job_values(folder: Path, seconds: float) -> list[Value]:
    summary = read(folder / "run" / "summary.json")
    return [
        at_most("default run", seconds, "s", 60),
        Value("step", 1000 * summary["seconds_per_step"], "ms"),
        Value("lowest accuracy", min(accuracies(summary, "alignment").values(), default=float("nan")), ""),
    ]


def cost_values(folder: Path, seconds: float) -> list[Value]:
    frames = read(folder / "out.json")["frames"]
    length, longest = min(frames, key=int), max(frames, key=int)
    ours, all_frames = (frames[longest][name] for name in ("vtok", "frame_sampling"))
    faster = all_frames["prefill_seconds"][0] / ours["prefill_seconds"][0]
    return [
        at_most("vtok over its backbone", 100 * ours["overhead"][0], "%", 3),
        at_least(f"prefill, {ours['tokens']} against {all_frames['tokens']} tokens", faster, "times", 5),
        Value(f"clips of {length} frames", 1 / frames[length]["vtok"]["encode_seconds"][0], "a second"),
    ]


def paper_values(folder: Path, seconds: float) -> list[Value]:
    found = read(folder / "out.json")
    planned, counted = (sum(found[name].values()) / 1e9 for name in ("planned", "counted"))
    values = [
        at_least("share of the matrix rate", 100 * found["share"], "%", 40),
        Value("matrix rate", found["matrix_tflops"], "TFLOP/s"),
        Value("build", found["build_seconds"], "s"),
        Value(
            "counted without activations", counted, "GB", f"planned {planned:.4g}", abs(counted / planned - 1) < 0.01
        ),
    ]
    if found["saved_bytes"]:
        values.append(Value("kept for the backward pass", found["saved_bytes"] / 1e9, "GB"))
    if found["peak_bytes"]:
        values.append(at_most("peak memory", found["peak_bytes"] / 1e9, "GB", 75))
    return values


PARTS = (
    Part(
        "smoke", "Does it run at all?", 60,
        lambda folder: run_command(folder, "debug=smoke", "objective=joint"),
        lambda folder: run_command(folder, "debug=smoke", *TOY_JOB),
        seconds_alone,
    ),
    Part(
        "tests", "Do the tests that need a GPU pass?", 120,
        lambda folder: tests_command("-m", "gpu", str(ROOT / "tests")),
        lambda folder: tests_command("-m", "gpu or not gpu", str(ROOT / "tests" / "training" / "test_determinism.py")),
        seconds_alone,
    ),
    Part(
        "job", "How long is the default run, and does it learn as on a CPU?", 110,
        lambda folder: run_command(folder, "loader.num_workers=8"),
        lambda folder: run_command(folder, "trainer.max_steps=2", *TOY_JOB),
        job_values,
    ),
    Part(
        "cost", "What does a tokeniser add to CLIP-L, and an 8 B model pay for its tokens?", 110,
        lambda folder: cost_command(folder, "runs=3", "every_frame=0", *FULL_COST),
        lambda folder: cost_command(folder, *TOY_COST),
        cost_values,
    ),
    Part(
        "paper", "Memory and speed of a step of recipe=paper_lora at full size?", 190,
        lambda folder: paper_command(folder, "recipe=paper_lora", "accumulate=2"),
        toy_paper,
        paper_values,
    ),
)  # fmt: skip
