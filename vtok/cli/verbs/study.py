"""vtok study: a comparison in which every method is tuned alike, and then repeated with several seeds."""

from collections.abc import Sequence
from pathlib import Path
from statistics import median

from vtok.cli.study_sweeps import run_sweeps
from vtok.common.overrides import command, override
from vtok.common.setting_types import Count
from vtok.config import check, compose
from vtok.config.jobs import check_jobs
from vtok.evaluation.cost.measure import measure
from vtok.runs.report import log_to_parent, read_parent
from vtok.runs.study import Study, choose, final_runs, read_study, runs_in, write_choices
from vtok.runs.study_report import study_result, write_study

COST_ROUNDS = 5


def study(
    *,
    name: str,
    plan: bool = False,
    methods: Sequence[str] = (),
    seeds: Count | None = None,
    jobs: Count = 1,
    outputs: str = "outputs",
    overrides: Sequence[str] = (),
) -> None:
    """Compare methods fairly: tune each on validation clips, repeat the best setting with several seeds, test.

    A study is declared in `experiments/study/NAME.yaml`. It runs in `OUTPUTS/studies/NAME` and writes a page there. An
    interrupted study resumes with the same command, and one of more methods or seeds repeats no finished run. Takes
    train's overrides, which hold for all runs.

    Args:
        name: name of the study, or a path that ends in .yaml.
        plan: only print what would be run.
        methods: some of the study's methods, the baseline among them; none: all.
        seeds: number of seeds of the final runs; null: those of the study.
        jobs: number of runs at a time on this computer.
        outputs: folder of the study's runs, and of synthetic clips.
        overrides: overrides of all runs.

    Raises:
        UserError: if the study's file is not valid, it has no such method, or a run has failed.
    """
    declared = read_study(name).part(methods=methods, seeds=seeds)
    given = [override("outputs", outputs), *overrides]
    print(declared.plan())
    # A mistake in the last method would be found after hours.
    for method in declared.methods:
        check_jobs([*declared.tuning_overrides(method), *given], multirun=True)
    if plan:
        return
    folder = Path(outputs) / "studies" / declared.name
    tuning = {method: folder / "tuning" / method for method in declared.methods}
    sweeps = {place: [*declared.tuning_overrides(method), *given] for method, place in tuning.items()}
    run_sweeps(sweeps, study_dir=folder, jobs=jobs)
    choices = {method: choose(declared, method, runs_in(place)) for method, place in tuning.items()}
    write_choices(choices, folder)
    finals = {
        folder / "seeds" / method: [*declared.final_overrides(method, choice.settings), *given]
        for method, choice in choices.items()
    }
    run_sweeps(finals, study_dir=folder, jobs=jobs)
    part = [f"methods=[{','.join(methods)}]"] if methods else []
    part += [] if seeds is None else [f"seeds={seeds}"]
    result = study_result(
        declared,
        choices,
        final_runs(declared, folder),
        costs=costs_of(declared, given),
        replay=command("vtok", "study", f"name={name}", *part, *given),
    )
    files = write_study(result, folder)
    if (parent := read_parent(folder)) is not None:
        log_to_parent(parent, files)
    print(f"\nwritten: {', '.join(map(str, files))}")


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
