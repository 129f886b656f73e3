"""vtok study: from the file to the page, and a second call that repeats nothing."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml
from filelock import FileLock
from mlflow import MlflowClient
from omegaconf import DictConfig

from vtok.cli.verbs.study import have_finished, probes_of, study
from vtok.common.errors import UserError
from vtok.config import compose
from vtok.evaluation.probing import ProbeResult, Probing
from vtok.runs.folder import open_run, write_status, write_summary
from vtok.runs.mlflow_parent import read_parent
from vtok.runs.saved_run import find_runs, read_run
from vtok.runs.study import read_study

CONTENT = {
    "question": "Does the stride matter?",
    "methods": {"three": ["tokeniser.stride=3"], "six": ["tokeniser.stride=6"]},
    "common": ["debug=smoke", "data.families=[motion]", "data.make_workers=1", "evaluation.captions=false"],
    "baseline": "six",
    "tuning": {"optimiser.lr": [0.001, 0.002]},
    "tuning_seeds": [9],
    "choose_by": ["validation/alignment/motion_direction"],
    "seeds": [0, 1],
    "metrics": ["alignment/motion_direction"],
    "learnt": 0.9,
    "limits": ["Four steps teach nothing."],
}


def write(file: Path, **changes: object) -> str:
    file.write_text(yaml.safe_dump({**CONTENT, **changes}))
    return str(file)


@pytest.mark.slow
def test_a_study_tunes_repeats_and_reports_and_repeats_nothing_that_is_done(tmp_path: Path) -> None:
    command = [
        sys.executable, "-m", "vtok", "study", f"name={write(tmp_path / 'stride.yaml')}", f"outputs={tmp_path}",
        "data.train_clips=16", "data.validation_clips=8", "data.test_clips=8", "jobs=2",
    ]  # fmt: skip
    first = subprocess.run(command, capture_output=True, text=True, check=True)
    folder = tmp_path / "studies" / "stride"
    logs = [*folder.glob("tuning/*.log"), *folder.glob("seeds/*.log")]
    assert sum(log.read_text().count("run folder:") for log in logs) == 8
    assert str(logs[0]) in first.stdout
    chosen = json.loads((folder / "chosen.json").read_text())
    for method in ("three", "six"):
        scores = {settings["optimiser.lr"]: score for settings, score in chosen[method]["tried"]}
        assert scores[chosen[method]["settings"]["optimiser.lr"]] == max(scores.values())
        finals = [read_run(path) for path in find_runs(folder / "seeds" / method)]
        assert [run.config["seed"] for run in finals] == [0, 1]
        assert {run.config["optimiser"]["lr"] for run in finals} == {chosen[method]["settings"]["optimiser.lr"]}
        assert {run.config["tokeniser"]["stride"] for run in finals} == {3 if method == "three" else 6}
    page = (folder / "study.html").read_text()
    assert "Does the stride matter?" in page
    assert "Four steps teach nothing." in page
    parent = read_parent(folder)
    assert parent is not None
    children = MlflowClient(parent.uri).search_runs(
        [parent.experiment_id], f"tags.`mlflow.parentRunId` = '{parent.run_id}'"
    )
    assert len(children) == 8
    run = MlflowClient(parent.uri).get_run(parent.run_id)
    assert (run.info.run_name, run.info.status) == ("stride", "FINISHED")
    logged = MlflowClient(parent.uri).list_artifacts(parent.run_id, "comparison")
    assert {"comparison/study.html", "comparison/study.json"} <= {one.path for one in logged}
    assert not any(one.path.startswith("comparison/comparison") for one in logged)
    # With another grid and fewer seeds, finished runs are not repeated.
    write(tmp_path / "stride.yaml", tuning={"optimiser.lr": [0.002, 0.004]})
    again = subprocess.run([*command[:-1], "seeds=1"], capture_output=True, text=True, check=True)
    assert "probing" in first.stdout
    assert "probing" not in again.stdout
    for method in ("three", "six"):
        assert again.stdout.count(f"tuning/{method}/optimiser.lr_0.002_seed_9 has already finished") == 1
        tried = [path.name for path in find_runs(folder / "tuning" / method)]
        assert tried == [f"optimiser.lr_{lr}_seed_9" for lr in (0.001, 0.002, 0.004)]
        chosen = json.loads((folder / "chosen.json").read_text())[method]
        assert [settings["optimiser.lr"] for settings, _ in chosen["tried"]] == [0.002, 0.004]
        best = chosen["settings"]["optimiser.lr"]
        assert f"optimiser.lr_{best}_seed_0" in [path.name for path in find_runs(folder / "seeds" / method)]
    numbers = json.loads((folder / "study.json").read_text())
    assert {method: one["seeds"] for method, one in numbers.items()} == {"three": 1, "six": 1}
    assert read_parent(folder) == parent
    # Where all runs have finished, no sweep starts, but those whose overrides have changed are repeated.
    last = subprocess.run([*command[:-1], "seeds=1"], capture_output=True, text=True, check=True)
    assert "vtok train" not in last.stdout
    assert last.stdout.count(f"finished: {folder}") == 4
    assert json.loads((folder / "study.json").read_text()) == numbers


def test_a_sweep_has_finished_if_its_runs_have_with_these_overrides(tmp_path: Path) -> None:
    given = ["debug=smoke", f"outputs={tmp_path}"]
    wanted = [{"optimiser.lr": 0.001, "seed": seed} for seed in (8, 9)]
    for want in wanted:
        folder = tmp_path / "here" / str(want["seed"])
        open_run(folder, compose([*given, *(f"{key}={value}" for key, value in want.items())]), [])
        write_summary(folder, {})
        write_status(folder, "finished", None)
    assert have_finished(tmp_path / "here", wanted, given)
    assert not have_finished(tmp_path / "here", [*wanted, {"optimiser.lr": 0.001, "seed": 7}], given)
    assert not have_finished(tmp_path / "here", wanted, [*given, "tokeniser.stride=3"])
    assert not have_finished(tmp_path / "there", wanted, given)


def test_a_mistake_in_the_last_method_is_found_before_the_first_run(tmp_path: Path) -> None:
    name = write(tmp_path / "wrong.yaml", methods={"three": [], "six": ["tokeniser.stirde=6"]})
    with pytest.raises(UserError, match=r"tokeniser\.stirde.*Did you mean tokeniser\.stride"):
        study(name=name, outputs=str(tmp_path))
    assert not (tmp_path / "studies").exists()


def test_a_plan_trains_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study(name=write(tmp_path / "stride.yaml"), plan=True, outputs=str(tmp_path))
    shown = capsys.readouterr().out
    assert "4 tuning runs: 2 values of optimiser.lr for each method" in shown
    assert "4 final runs: 2 seeds (0, 1) of each method" in shown
    assert not (tmp_path / "studies").exists()


def test_a_plan_needs_no_data_but_refuses_mistakes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study(name="real", plan=True, methods=["frame_sampling"], outputs=str(tmp_path))
    shown = capsys.readouterr().out
    assert "\n1 method: frame_sampling\n" in shown
    assert ", 1 seed (1000), chosen by" in shown
    assert shown.endswith("no comparison: only the baseline is chosen\nTo run it, set data.source.root=PATH.\n")
    with pytest.raises(UserError, match=r"Did you mean clip\.fps\?"):
        study(name="real", plan=True, methods=["frame_sampling"], outputs=str(tmp_path), overrides=["clip.fsp=3"])
    with pytest.raises(UserError, match=r"^data\.source\.root is required by data=twins"):
        study(name="real", methods=["frame_sampling"], outputs=str(tmp_path))


def test_a_study_that_runs_already_is_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "studies" / "stride"
    folder.mkdir(parents=True)
    with FileLock(folder / "study.lock"), pytest.raises(UserError, match="this study is running already"):
        study(name=write(tmp_path / "stride.yaml"), outputs=str(tmp_path))
    assert [file.name for file in folder.iterdir()] == ["study.lock"]


def test_probes_are_saved_and_those_of_other_overrides_are_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tokens that depend on a question are not probed."""
    probed = []

    def probe_untrained(config: DictConfig, probing: Probing, seeds: Sequence[int]) -> list[ProbeResult]:
        probed.append(config.tokeniser.stride)
        return [ProbeResult(20, (1, 1), numbers={"order": config.tokeniser.stride / 10})]

    monkeypatch.setattr("vtok.cli.verbs.probe.probe_untrained", probe_untrained)
    methods = {"three": ["tokeniser.stride=3"], "six": ["tokeniser.stride=6"], "asks": ["tokeniser=llama_vid"]}
    declared = read_study(write(tmp_path / "stride.yaml", methods=methods, common=["debug=smoke"]))
    file = tmp_path / "probes.json"
    found = probes_of(declared, ["seed=1"], file)
    assert {method: metrics["probe/order"] for method, metrics in found.items()} == {"three": 0.3, "six": 0.6}
    assert probes_of(declared.part(methods=["six"]), ["seed=1"], file) == {"six": found["six"]}
    assert sorted(probed) == [3, 6]
    probes_of(declared, ["seed=2"], file)
    assert sorted(probed) == [3, 3, 6, 6]
    # As if a default had changed since.
    saved = json.loads(file.read_text())
    saved["six"]["probed"]["tokeniser"]["grid_size"] = 2
    file.write_text(json.dumps(saved))
    probes_of(declared, ["seed=2", "trainer.max_steps=3"], file)
    assert sorted(probed) == [3, 3, 6, 6, 6]
