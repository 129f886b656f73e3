"""vtok study: a comparison in which every method is tuned alike, and then repeated with several seeds."""

import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

from vtok.common.errors import UserError
from vtok.common.overrides import command, override
from vtok.config import check, compose
from vtok.config.jobs import check_jobs
from vtok.evaluation.cost.measure import measure
from vtok.runs.report import log_to_parent, read_parent, write_parent
from vtok.runs.study import Choice, Study, choose, final_runs, read_study, runs_in, write_choices
from vtok.runs.study_report import study_result, write_study

COST_ROUNDS = 5


def study(
    *,
    name: str,
    plan: bool = False,
    outputs: str = "outputs",
    overrides: Sequence[str] = (),
) -> None:
    """Compare methods fairly: tune each on validation clips, repeat the best setting with several seeds, test.

    A study is declared in `experiments/study/NAME.yaml`. It runs in `OUTPUTS/studies/NAME` and writes a page there. An
    interrupted study resumes with the same command; finished runs are not repeated. Takes train's overrides, which hold
    for all runs: `hydra/launcher=joblib hydra.launcher.n_jobs=2` runs two at a time.

    Args:
        name: name of the study, or a path that ends in .yaml.
        plan: only print what would be run.
        outputs: folder of the study's runs, and of synthetic clips.
        overrides: overrides of all runs.

    Raises:
        UserError: if the study's file is not valid, or a run has failed.
    """
    declared = read_study(name)
    given = [override("outputs", outputs), *overrides]
    print(declared.plan())
    # A mistake in the last method would be found after hours.
    for method in declared.methods:
        check_jobs([*declared.tuning_overrides(method), *given], multirun=True)
    if plan:
        return
    folder = Path(outputs) / "studies" / declared.name
    choices: dict[str, Choice] = {}
    for method in declared.methods:
        place = folder / "tuning" / method
        run_sweep([*declared.tuning_overrides(method), *given], place, study_dir=folder)
        choices[method] = choose(declared, method, runs_in(place))
        write_choices(choices, folder)
    for method, choice in choices.items():
        place = folder / "seeds" / method
        run_sweep([*declared.final_overrides(method, choice.settings), *given], place, study_dir=folder)
    files = report_study(declared, choices, folder, overrides=given, replay=replay(name, given))
    print(f"\nwritten: {', '.join(map(str, files))}")


def report_study(
    declared: Study, choices: Mapping[str, Choice], folder: Path, *, overrides: Sequence[str], replay: str
) -> list[Path]:
    """Measure the costs, and write and log the report of a study whose runs have finished.

    Args:
        declared: the study.
        choices: tuned settings of each method.
        folder: folder of the study, with its runs.
        overrides: overrides of all runs.
        replay: command that runs the study.
    """
    result = study_result(
        declared, choices, final_runs(declared, folder), costs=costs_of(declared, overrides), replay=replay
    )
    files = write_study(result, folder)
    if (parent := read_parent(folder)) is not None:
        log_to_parent(parent, files)
    return files


def replay(name: str, overrides: Sequence[str]) -> str:
    """The command that runs a study."""
    return command("vtok", "study", f"name={name}", *overrides)


def costs_of(declared: Study, overrides: Sequence[str]) -> list[list[str]]:
    """A table with a header: tokens, FLOPs and times of each method for one clip."""
    configs = {}
    for method, own in declared.methods.items():
        configs[method] = compose([*declared.common, *own, *overrides, "data.cache=null"])
        check(configs[method])
    rows = [["method", "tokens", "GFLOP", "encode, ms", "prefill, ms"]]
    for method, one in measure(configs, runs=COST_ROUNDS, every_frame=False).items():
        times = [f"{1000 * median(seconds):.1f}" for seconds in (one.encode, one.prefill)]
        rows.append([method, str(one.tokens), f"{one.encode_flops / 1e9:.3f}", *times])
    return rows


def run_sweep(overrides: Sequence[str], folder: Path, *, study_dir: Path) -> None:
    """Run a sweep in a folder, in a process of its own: Hydra can run one sweep in a process.

    All sweeps of a study have one parent run in MLflow: that of the first.

    Raises:
        UserError: if one of its runs has failed.
    """
    arguments = ["train", "-m", *overrides, override("hydra.sweep.dir", str(folder))]
    print(f"\n{command('vtok', *arguments)}", flush=True)
    if (parent := read_parent(study_dir)) is not None:
        write_parent(folder, parent)
    if run_process([sys.executable, "-m", "vtok", *arguments]):
        raise UserError(f"{folder}: this sweep has failed or was stopped. Read its message, and start the study again.")
    if parent is None and (first := read_parent(folder)) is not None:
        write_parent(study_dir, first)


def run_process(arguments: Sequence[str]) -> int:
    """Run a process to its end, and return its exit code. If this one is stopped, the process is stopped first."""
    process = subprocess.Popen(arguments)
    before = signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    try:
        return process.wait()
    except KeyboardInterrupt:
        # The terminal has interrupted the process too.
        return process.wait()
    finally:
        signal.signal(signal.SIGTERM, before)
