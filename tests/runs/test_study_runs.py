"""The runs of a study: the choice of settings on validation clips, and the runs that are reported."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from vtok.common.errors import UserError
from vtok.runs.saved_run import read_run
from vtok.runs.study import Study
from vtok.runs.study_runs import CHOSEN, Choice, check_metrics, choose_settings, final_runs, write_choices


def test_the_setting_with_the_best_mean_is_chosen(study: Study, make_run: Callable[..., Path]) -> None:
    """The mean of two metrics and two seeds: lr=0.4, stride=3 is best in none."""
    scores = {
        (0.1, 3, 8): (0.9, 0.1), (0.1, 3, 9): (0.9, 0.1),
        (0.2, 3, 8): (1.0, 1.0), (0.2, 3, 9): (0.1, 0.1),
        (0.4, 3, 8): (0.8, 0.8), (0.4, 3, 9): (0.7, 0.7),
    }  # fmt: skip
    runs = [
        read_run(
            make_run(
                f"{lr}-{stride}-{seed}",
                {"optimiser": {"lr": lr}, "tokeniser": {"stride": stride}, "seed": seed},
                [],
                dict(zip(study.choose_by, scores.get((lr, stride, seed), (0.5, 0.5)), strict=True)),
            )
        )
        for lr in (0.1, 0.2, 0.4)
        for stride in (3, 6)
        for seed in (8, 9)
    ]
    choice = choose_settings(study, "a", runs)
    assert choice.settings == {"optimiser.lr": 0.4, "tokeniser.stride": 3}
    assert len(choice.tried) == 6
    assert [round(score, 3) for _, score in choice.tried] == [0.5, 0.5, 0.55, 0.5, 0.75, 0.5]
    # Two values have no middle.
    assert choice.at_the_edge == ["optimiser.lr"]
    with pytest.raises(UserError, match=r"lr=0.1, tokeniser.stride=3, seed=9 has not finished"):
        choose_settings(study, "a", [runs[0], *runs[2:]])


def test_metrics_that_no_finished_run_has_are_refused(study: Study, make_run: Callable[..., Path]) -> None:
    known = [*study.choose_by, *study.metrics]
    run = read_run(make_run("whole", {"seed": 1}, [], dict.fromkeys(known, 0.5)))
    check_metrics(study, [run])
    for key, wrong, message in (
        ("choose_by", "validation/alignment/color", r"choose_by: .*Did you mean validation/alignment/colour\?"),
        ("metrics", "alignment/color", r"metrics: .*Did you mean alignment/colour\?"),
    ):
        mistaken = replace(study, **{key: [wrong]})
        with pytest.raises(UserError, match=message):
            check_metrics(mistaken, [run])
        # It may have been stopped before its evaluation.
        check_metrics(mistaken, [replace(run, status="stopped")])


def test_final_runs_are_those_of_the_seeds_and_the_chosen_settings(
    study: Study, make_run: Callable[..., Path], tmp_path: Path
) -> None:
    for number, (lr, seed) in enumerate([(0.2, 0), (0.2, 1), (0.2, 2), (0.4, 0), (0.2, 3)]):
        config = {"optimiser": {"lr": lr}, "tokeniser": {"stride": 3}, "seed": seed}
        make_run(f"seeds/b/{number}", config, [], {"alignment/colour": 0.5})
    choices = {"b": Choice({"optimiser.lr": 0.2, "tokeniser.stride": 3}, [])}
    (runs,) = final_runs(study, choices, tmp_path).values()
    assert [run.path.name for run in runs] == ["0", "1", "2"]
    more = study.part(seeds=5)
    with pytest.raises(UserError, match=r"seeds/b: 4 of 5 final runs have finished\. Start the study again"):
        final_runs(more, choices, tmp_path)


def test_the_settings_of_other_methods_are_not_lost(tmp_path: Path) -> None:
    for method in "ab":
        write_choices({method: Choice({"lr": 0.1}, [({"lr": 0.1}, 0.5)])}, tmp_path)
    assert set(json.loads((tmp_path / CHOSEN).read_text())) == {"a", "b"}
