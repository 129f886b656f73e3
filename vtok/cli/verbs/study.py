"""vtok study: a comparison in which every method is tuned alike, and then repeated with several seeds.

MLflow, pictures and torch take seconds to import. Functions import them, so that mistakes are reported before.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Literal

from omegaconf import OmegaConf

from vtok.cli.study_sweeps import run_sweeps
from vtok.common.files import locked, write_text
from vtok.common.foreign_files import read_mapping
from vtok.common.overrides import command, override
from vtok.common.setting_types import Count
from vtok.config import check, compose
from vtok.config.explain import MissingValue
from vtok.config.jobs import check_jobs
from vtok.config.nodes import constant_of
from vtok.runs.study import Study, read_study
from vtok.runs.study_runs import (
    Choice,
    check_metrics,
    choose_settings,
    final_folder,
    final_runs,
    finished_runs,
    runs_in,
    tuning_folder,
    with_seeds,
    write_choices,
)

if TYPE_CHECKING:
    from vtok.runs.mlflow_parent import Parent

COST_ROUNDS = 5
PROBES = "probes.json"
# Parts of the configuration that a probe depends on.
PROBED = ("seed", "clip", "data", "backbone", "tokeniser")


def study(
    *,
    name: str,
    plan: bool = False,
    methods: Sequence[str] = (),
    seeds: Count | None = None,
    jobs: Count = 1,
    probe: bool = True,
    outputs: str = "outputs",
    overrides: Sequence[str] = (),
) -> None:
    """Compare methods fairly: tune each on validation clips, repeat the best setting with several seeds, test.

    A study is declared in `experiments/study/NAME.yaml`. It runs in `OUTPUTS/studies/NAME` and writes a page there,
    about the methods and seeds of the last call. An interrupted study resumes with the same command. With more methods
    or seeds, finished runs are not repeated. Takes train's overrides, which hold for all runs.

    Args:
        name: name of the study, or a path that ends in .yaml.
        plan: only print what would be run.
        methods: some of the study's methods, the baseline among them; none: all.
        seeds: number of seeds of the final runs; null: those of the study.
        jobs: number of methods at a time on this computer, one run of each; above 1, each prints to a log file.
        probe: probe the tokens of each method as well, and say whether the probes predict the trained models.
        outputs: folder of the study's runs, and of synthetic clips.
        overrides: overrides of all runs.

    Raises:
        UserError: if the study's file is not valid, it has no such method, the baseline is missing, the study is
            running already, or a run has failed.
    """
    declared = read_study(name).part(methods=methods, seeds=seeds)
    given = [override("outputs", outputs), *overrides]
    declared.check_overrides(given)
    print(declared.plan())
    needed: dict[str, None] = {}
    # A mistake in the last method would be found after hours.
    for method in declared.methods:
        try:
            check_jobs([*declared.tuning_overrides(method), *given], multirun=True)
        except MissingValue as missing:
            if not plan:
                raise
            needed[missing.needed] = None
    if plan:
        if needed:
            print(f"To run it, set {' '.join(needed)}.")
        return
    from vtok.runs.mlflow_parent import log_to_parent
    from vtok.runs.study_report import study_result, write_study

    folder = Path(outputs) / "studies" / declared.name
    part = [f"methods=[{','.join(methods)}]"] if methods else []
    part += [] if seeds is None else [f"seeds={seeds}"]
    part += [] if probe else ["probe=false"]
    replay = command("vtok", "study", f"name={name}", *part, *given)
    folder.mkdir(parents=True, exist_ok=True)
    busy = f"{folder}: this study is running already. Wait for it, or set outputs=FOLDER."
    with locked(folder / "study.lock", busy=busy), mlflow_parent(declared, given, folder) as parent:
        choices = run_study(declared, given, folder, parent=parent, jobs=jobs)
        result = study_result(
            declared,
            choices,
            final_runs(declared, choices, folder),
            probes=probes_of(declared, given, folder / PROBES) if probe else {},
            costs=costs_of(declared, given),
            replay=replay,
        )
        files = write_study(result, folder)
        if parent is not None:
            log_to_parent(parent, files)
    print(f"\nwritten: {', '.join(map(str, files))}")


def run_study(
    declared: Study, overrides: Sequence[str], folder: Path, *, parent: "Parent | None", jobs: int
) -> dict[str, Choice]:
    """Run what has not finished of each method: its tuning runs, and then, with the settings chosen, its final runs.

    Args:
        declared: the study.
        overrides: overrides of all runs.
        folder: folder of the study.
        parent: the study's parent run in MLflow.
        jobs: number of methods at a time.

    Returns:
        The chosen settings of each method.
    """
    choices: dict[str, Choice] = {}

    def final_sweep(method: str) -> dict[Path, list[str]]:
        """Choose a method's settings; its final runs as a sweep, unless all have finished."""
        tuned, place = runs_in(tuning_folder(folder, method)), final_folder(folder, method)
        # A wrong name would be found after the last run.
        check_metrics(declared, tuned)
        choice = choices[method] = choose_settings(declared, method, tuned)
        write_choices({method: choice}, folder)
        wanted = with_seeds(choice.settings, declared.seeds)
        if have_finished(place, wanted, [*declared.overrides(method), *overrides]):
            return {}
        return {place: [*declared.final_overrides(method, choice.settings), *overrides, declared.run_folders]}

    untuned = {}
    sweeps: dict[Path, list[str]] = {}
    for method in declared.methods:
        place = tuning_folder(folder, method)
        wanted = [want for settings in declared.tried for want in with_seeds(settings, declared.tuning_seeds)]
        if have_finished(place, wanted, [*declared.overrides(method), declared.validation, *overrides]):
            sweeps |= final_sweep(method)
        else:
            untuned[place] = method
            sweeps[place] = [*declared.tuning_overrides(method), *overrides, declared.run_folders]
    run_sweeps(
        sweeps,
        parent=parent,
        jobs=jobs,
        then=lambda place: final_sweep(untuned[place]) if place in untuned else {},
    )
    return {method: choices[method] for method in declared.methods}


def have_finished(place: Path, wanted: Sequence[Mapping[str, Any]], overrides: Sequence[str]) -> bool:
    """Whether a sweep folder has finished runs of the wanted settings by key, with these overrides besides."""
    from vtok.training.resume import metrics_of_finished

    found = finished_runs(runs_in(place), wanted)
    if None in found:
        return False
    config = compose(overrides)
    for run, settings in zip(found, wanted, strict=True):
        for key, value in settings.items():
            OmegaConf.update(config, key, value)
        if run is None or metrics_of_finished(run.path, config) is None:
            return False
    print(f"finished: {place}")
    return True


@contextmanager
def mlflow_parent(declared: Study, overrides: Sequence[str], folder: Path) -> Iterator["Parent | None"]:
    """The study's parent run in MLflow, closed at the end of the block; None without MLflow."""
    from vtok.runs.mlflow_parent import finish_parent, start_parent

    tracking = compose([*declared.common, *declared.methods[declared.baseline], *overrides]).tracking
    tags = {"vtok.study": declared.name}
    parent = start_parent(folder, tracking, name=declared.name, tags=tags, of_study=True)
    status: Literal["FINISHED", "FAILED"] = "FAILED"
    try:
        yield parent
        status = "FINISHED"
    finally:
        if parent is not None:
            finish_parent(parent, status)


def probes_of(declared: Study, overrides: Sequence[str], file: Path) -> dict[str, dict[str, float]]:
    """The metrics of the probes of each method, saved in a file, which is read first.

    Left out are methods whose tokens depend on a question, because probes ask none. What has changed since it was
    saved, a default among it, is probed again.
    """
    from vtok.cli.verbs.probe import probe_untrained
    from vtok.evaluation.probing import Probing

    probing = Probing(steps=300, train_clips=4000, test_clips=2000, tuned=True, measures=["answers"])
    saved = dict(read_mapping(file)) if file.is_file() else {}
    found: dict[str, dict[str, float]] = {}
    for method, own in declared.methods.items():
        config = compose([*declared.common, *own, *overrides])
        check(config)
        if constant_of(config.tokeniser, "reads_question", False):
            continue
        settings = OmegaConf.to_container(config, resolve=True)
        assert isinstance(settings, dict)
        probed = {"probing": asdict(probing), **{key: settings[key] for key in PROBED}}
        if saved.get(method, {}).get("probed") != probed:
            print(f"probing {method}", flush=True)
            [result] = probe_untrained(config, probing, [config.seed])
            saved[method] = {"probed": probed, "metrics": result.metrics()}
            write_text(file, json.dumps(saved, indent=1))
        found[method] = saved[method]["metrics"]
    return found


def costs_of(declared: Study, overrides: Sequence[str]) -> list[list[str]]:
    """A table with a header: tokens, FLOPs and times of each method for one clip."""
    from vtok.evaluation.cost.measure import measure

    configs = {}
    for method, own in declared.methods.items():
        configs[method] = compose([*declared.common, *own, *overrides, "data.cache=null"])
        check(configs[method])
    rows = [["method", "tokens", "GFLOP", "encode, ms", "prefill, ms"]]
    for method, one in measure(configs, runs=COST_ROUNDS, every_frame=False).items():
        times = [f"{1000 * median(seconds):.1f}" for seconds in (one.encode, one.prefill)]
        rows.append([method, str(one.tokens), f"{one.encode_flops / 1e9:.3f}", *times])
    return rows
