"""Studies: their files, the choice of settings on validation clips, and the page of the result."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from vtok.common.errors import UserError
from vtok.common.paths import experiments_dir
from vtok.runs.saved_run import read_run
from vtok.runs.study import CHOSEN, Choice, Study, check_metrics, choose, final_runs, read_study, write_choices
from vtok.runs.study_report import study_result, write_study

CONTENT = {
    "question": "Which is better?",
    "methods": {"a": ["tokeniser=vtok"], "b": ["tokeniser=key_frame"]},
    "common": [],
    "baseline": "b",
    "tuning": {"optimiser.lr": [0.1, 0.2, 0.4], "tokeniser.stride": [3, 6]},
    "tuning_seeds": [8, 9],
    "choose_by": ["validation/alignment/colour", "validation/alignment/speed"],
    "seeds": [0, 1, 2],
    "metrics": ["alignment/colour"],
    "learnt": 0.9,
    "limits": ["Nothing else."],
}


@pytest.fixture
def study(tmp_path: Path) -> Study:
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(CONTENT))
    return read_study(str(file))


@pytest.mark.parametrize("name", [file.stem for file in (experiments_dir() / "study").glob("*.yaml")])
def test_shipped_studies_are_valid(name: str) -> None:
    study = read_study(name)
    assert study.settings_tried >= 3
    assert f"{len(study.methods) * len(study.seeds)} final runs" in study.plan()
    assert "too few" not in study.plan()


def test_a_plan_whose_seeds_can_show_nothing_says_how_many_can(study: Study) -> None:
    """By chance, two groups of n seeds that succeed or fail separate with a probability of at most 2 / 4**n."""
    assert study.comparisons == 1
    assert "too few" not in study.plan()
    warned = "1 comparisons on test clips. The seeds are too few to show any difference: use seeds=3."
    assert study.part(seeds=2).plan().endswith(warned)
    more = replace(study, metrics=["alignment/colour"] * 5, pairs=[["a", "b"]])
    assert more.comparisons == 10
    assert "use seeds=5." in more.part(seeds=4).plan()
    assert "too few" not in more.part(seeds=5).plan()


def test_every_method_is_tuned_by_the_same_grid(study: Study) -> None:
    a, b = (study.tuning_overrides(method) for method in ("a", "b"))
    assert a == [
        "tokeniser=vtok",
        "optimiser.lr=0.1,0.2,0.4",
        "tokeniser.stride=3,6",
        "seed=8,9",
        "optimise=validation/alignment/colour",
    ]
    assert a[1:] == b[1:]
    final = study.final_overrides("b", {"optimiser.lr": 0.2, "tokeniser.stride": 3})
    assert final == ["tokeniser=key_frame", "optimiser.lr=0.2", "tokeniser.stride=3", "seed=0,1,2"]


def test_a_part_of_a_study(study: Study) -> None:
    assert study.part() == study
    part = replace(study, tuning_seeds=[3]).part(methods=["b"], seeds=5)
    assert part.methods == {"b": ["tokeniser=key_frame"]}
    assert part.seeds == [0, 1, 2, 4, 5]
    both = replace(study, pairs=[["a", "b"]])
    assert both.part().pairs == [["a", "b"]]
    assert both.part(methods=["b"]).pairs == []
    assert study.part(seeds=2).seeds == [0, 1]


@pytest.mark.parametrize(
    ("methods", "message"), [(["a"], "the baseline is missing. Add b"), (["b", "c"], "methods=c: unknown method. Use")]
)
def test_a_part_of_unknown_methods_or_without_the_baseline_is_refused(
    study: Study, methods: list[str], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        study.part(methods=methods)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"baseline": "c"}, r"baseline=c is not a method"),
        ({"tuning_seeds": [7, 0]}, r"tuning_seeds has 0, which is one of the seeds"),
        ({"choose_by": ["alignment/colour"]}, r"not of validation clips\. Use validation/alignment/colour"),
        ({"learnt": 90.0}, r"learnt=90\.0 is not an accuracy\. Use a share above 0 and at most 1"),
        ({"pairs": [["a", "c"]]}, r"pairs has \['a', 'c'\]\. Use pairs of two methods: a, b"),
        ({"pairs": [["a"]]}, r"pairs has \['a'\]"),
        ({"seeds": []}, r"seeds must be a list that is not empty"),
        ({"seed": [1]}, r"seed is an unknown key\. Did you mean seeds"),
    ],
)
def test_a_mistake_in_a_file_is_named(tmp_path: Path, change: dict[str, object], message: str) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump({**CONTENT, **change}))
    with pytest.raises(UserError, match=message):
        read_study(str(file))


def test_an_unknown_study_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UserError, match=r"unknown study.*tokenisers"):
        read_study("tokeniser")


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
    choice = choose(study, "a", runs)
    assert choice.settings == {"optimiser.lr": 0.4, "tokeniser.stride": 3}
    assert len(choice.tried) == 6
    assert [round(score, 3) for _, score in choice.tried] == [0.5, 0.5, 0.55, 0.5, 0.75, 0.5]
    # Two values have no middle.
    assert choice.at_the_edge == ["optimiser.lr"]
    with pytest.raises(UserError, match=r"lr=0.1, tokeniser.stride=3, seed=9 has not finished"):
        choose(study, "a", [runs[0], *runs[2:]])


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


def test_the_page_says_what_was_tuned_what_came_out_and_what_is_not_shown(
    study: Study, answered_run: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    right = {"a": [True] * 36 + [False] * 4, "b": [True] * 4 + [False] * 36}
    runs = {
        method: [
            read_run(answered_run(f"{method}-{seed}", {"seed": seed, "m": method}, {"colour": right[method]}))
            for seed in study.seeds
        ]
        for method in study.methods
    }
    choices = {
        method: Choice(
            {"optimiser.lr": lr, "tokeniser.stride": 3},
            [({"optimiser.lr": one, "tokeniser.stride": other}, 0.5) for one in (0.1, 0.2, 0.4) for other in (3, 6)],
        )
        for method, lr in (("a", 0.2), ("b", 0.4))
    }
    probes = {method: {f"probe/{kind}/colour": 0.5 for kind in ("linear", "attentive")} for method in study.methods}
    result = study_result(
        study, choices, runs, probes=probes, costs=[["method", "tokens"], ["a", "20"]], replay="vtok study name=mine"
    )
    out = tmp_path / "out"
    out.mkdir()
    written = {file.name for file in write_study(result, out)}
    assert written == {"accuracy.png", "differences.csv", "study.html", "study.json", "study.md"}
    numbers = json.loads((out / "study.json").read_text())
    assert numbers["a"] == {"seeds": 3, "means": {"alignment/colour": 0.9}}
    text = (out / "study.md").read_text()
    assert "| a | 0.2 | 3 | tokeniser=vtok |" in text
    assert "| a | 50, 50 |" in text
    assert "0.4 (edge)" in text
    assert "edge of the grid for b" in text
    assert "Nothing else." in text
    assert "vtok study name=mine" in text
    page = (out / "study.html").read_text()
    for sentence in result.sentences():
        assert sentence in text
        assert sentence in page.replace("&#39;", "'").replace("&lt;", "<")
    assert "Which is better?" in page
    assert "Differences from b" in capsys.readouterr().out
    # A further pair of methods, whose second is subtracted.
    more = study_result(replace(study, pairs=[["b", "a"]]), choices, runs, probes={}, costs=[], replay="")
    assert "## Differences from b, and of b from a" in more.text()
    assert [(pair.first, pair.second, round(pair.difference.value, 6)) for pair in more.pairs.tested] == [
        ("a", "b", 0.8),
        ("b", "a", -0.8),
    ]
