"""Some methods of a study, at the study's full length, with several sweeps at once: `make gpu ARGS="parts=[study]"`.

    python benchmarks/gpu_study.py
    python benchmarks/gpu_study.py methods=[vtok,frame_sampling,delta] seeds=5 trainer.device=cpu

from the root of a checkout, with vtok[joblib] installed. `vtok study` runs the sweeps of one method after the other,
which leaves most of a GPU idle. Called again, it repeats no finished run.
"""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from statistics import fmean

import yaml

from vtok.cli.main import run_script
from vtok.cli.verbs.study import replay, report_study
from vtok.common.errors import UserError
from vtok.common.files import write_text
from vtok.common.overrides import override
from vtok.common.setting_types import Count
from vtok.config.jobs import check_jobs
from vtok.config.options import one_of
from vtok.runs.saved_run import SavedRun
from vtok.runs.study import Choice, Study, choose, final_runs, read_study, runs_in, write_choices

# A run needs one thread, and decodes its clips itself: there are more runs than cores.
EVERY_RUN = ("tracking=none", "trainer.progress=false", "loader.num_workers=0")


def gpu_study(
    *,
    name: str = "tokenisers",
    methods: Sequence[str] = ("vtok", "frame_sampling", "vtok_no_subtraction"),
    seeds: Count = 8,
    at_once: Count = 16,
    out: str = "outputs/gpu/study",
    overrides: Sequence[str] = (),
) -> str:
    """Tune some methods of a study, repeat each with several seeds, and write the study's page.

    Takes train's overrides, which hold for all runs.

    Args:
        name: name of a study, or a path that ends in .yaml.
        methods: names of its methods, the baseline among them.
        seeds: number of seeds of the final runs.
        at_once: number of runs at a time.
        out: folder of the runs and of the page.
        overrides: overrides of all runs.

    Raises:
        UserError: the study has no such method, or a run has failed.
    """
    declared = part_of(read_study(name), methods, seeds)
    # Where `vtok study` would put it: the command on the page resumes it, too.
    folder, file = Path(out) / "studies" / declared.name, Path(out) / f"{declared.name}.yaml"
    folder.mkdir(parents=True, exist_ok=True)
    write_text(file, yaml.safe_dump({key: one for key, one in asdict(declared).items() if key != "name"}))
    given = [override("outputs", out), *EVERY_RUN, *overrides]
    tuning = {method: declared.tuning_overrides(method) for method in declared.methods}
    for arguments in tuning.values():
        check_jobs([*arguments, *given], multirun=True)
    run_sweeps(tuning, given, folder / "tuning", jobs=declared.settings_tried, at_once=at_once)
    choices = {method: choose(declared, method, runs_in(folder / "tuning" / method)) for method in declared.methods}
    write_choices(choices, folder)
    final = {method: declared.final_overrides(method, choice.settings) for method, choice in choices.items()}
    run_sweeps(final, given, folder / "seeds", jobs=seeds, at_once=at_once)
    files = report_study(declared, choices, folder, overrides=given, replay=replay(str(file), given))
    figures = {"seeds": seeds, "methods": means(declared, choices, final_runs(declared, folder))}
    files.append(Path(out) / "out.json")
    write_text(files[-1], json.dumps(figures, indent=1))
    return "\n".join(map(str, files))


def part_of(study: Study, methods: Sequence[str], seeds: int) -> Study:
    """A study with some of its methods and another number of seeds.

    Raises:
        UserError: the study has no such method, or its baseline is not among them.
    """
    if odd := [one for one in methods if one not in study.methods]:
        raise UserError(f"methods={odd[0]}: unknown method. {one_of(odd[0], list(study.methods))}")
    if study.baseline not in methods:
        raise UserError(f"methods={','.join(methods)}: the baseline is missing. Add {study.baseline}.")
    return replace(
        study,
        methods={one: list(study.methods[one]) for one in methods},
        seeds=[one for one in range(seeds + 1) if one != study.tuning_seed][:seeds],
    )


def run_sweeps(
    sweeps: Mapping[str, Sequence[str]], overrides: Sequence[str], folder: Path, *, jobs: int, at_once: int
) -> None:
    """Run sweeps of `jobs` runs each in folders of their names, `at_once` runs at a time.

    Raises:
        UserError: a run has failed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    launcher = ("hydra/launcher=joblib", f"hydra.launcher.n_jobs={min(jobs, at_once)}")

    def run(name: str) -> int:
        place = override("hydra.sweep.dir", str(folder / name))
        command = [sys.executable, "-m", "vtok", "train", "-m", *sweeps[name], *overrides, *launcher, place]
        with (folder / f"{name}.log").open("w", encoding="utf-8") as log:
            return subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=False).returncode

    with ThreadPoolExecutor(max(1, at_once // jobs)) as pool:
        codes = list(pool.map(run, sweeps))
    if failed := [name for name, code in zip(sweeps, codes, strict=True) if code]:
        raise UserError(f"{folder / failed[0]}.log: this sweep has failed. Read its message, and start the part again.")


def means(
    study: Study, choices: Mapping[str, Choice], runs: Mapping[str, Sequence[SavedRun]]
) -> dict[str, dict[str, float]]:
    """The mean over seeds of each metric, by method."""
    return {
        method: {metric: fmean(float(run.summary[metric]) for run in runs[method]) for metric in study.metrics}
        for method in choices
    }


if __name__ == "__main__":
    sys.exit(run_script(gpu_study))
