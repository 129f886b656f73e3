"""Studies as their files declare them."""

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from vtok.common.errors import UserError
from vtok.common.paths import experiments_dir
from vtok.runs.study import Study, read_study


@pytest.mark.parametrize("name", [file.stem for file in (experiments_dir() / "study").glob("*.yaml")])
def test_shipped_studies_are_valid(name: str) -> None:
    study = read_study(name)
    assert study.tried[2:]
    assert f"{len(study.methods) * len(study.seeds)} final runs" in study.plan()
    assert "any difference" not in study.plan()


def test_a_plan_whose_seeds_can_show_nothing_says_how_many_can(study: Study) -> None:
    """By chance, two groups of n seeds that succeed or fail separate with a probability of at most 2 / 4**n.

    One of n seeds comes before the other in 2 of all (2n choose n) orders.
    """
    assert study.comparisons == 1
    assert "any difference" not in study.plan()
    assert "too few to show that a method learns sooner; seeds=4 are enough." in study.plan()
    assert "too few" not in study.part(seeds=4).plan()
    warned = "1 comparison on test clips. The seeds are too few to show any difference in accuracy: use seeds=3."
    assert warned in study.part(seeds=2).plan()
    more = replace(study, metrics=["alignment/colour"] * 5, pairs=[["a", "b"]])
    assert more.comparisons == 10
    assert "use seeds=5." in more.part(seeds=4).plan()
    assert "any difference" not in more.part(seeds=5).plan()


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
        ({"pairs": [["a", "c"]]}, r"pairs has \['a', 'c'\]\. Use pairs of two methods besides the baseline: a\."),
        ({"pairs": [["a"]]}, r"pairs has \['a'\]"),
        ({"pairs": [["a", "b"]]}, r"pairs has \['a', 'b'\]"),
        ({"seeds": []}, r"seeds must be a list of integers"),
        ({"seeds": [0, 0, 1]}, r"seeds has a seed twice"),
        ({"methods": {"a": "tokeniser=vtok", "b": []}}, r"methods must be a list of overrides by method"),
        ({"tuning": {"optimiser.lr": 0.1}}, r"tuning must be a list of values by key"),
        ({"tuning": {"optimiser.lr": [0.1, None]}}, r"tuning must be a list of values by key"),
        ({"tuning": {"optimiser.lr": []}}, r"tuning must be a list of values by key"),
        ({"tuning": {"optimiser": ["adamw", "sgd"]}}, r"tuning has optimiser, which is not a key"),
        (
            {"tuning": {"tokeniser/motion_pooling": ["mean"]}},
            r"tuning has tokeniser/motion_pooling, which is not a key",
        ),
        ({"learnt": "all"}, r"learnt must be a number above 0 and at most 1"),
        ({"seed": [1]}, r"seed is an unknown key\. Did you mean seeds"),
    ],
)
def test_a_mistake_in_a_file_is_named(
    study_content: dict[str, object], tmp_path: Path, change: dict[str, object], message: str
) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump({**study_content, **change}))
    with pytest.raises(UserError, match=message):
        read_study(str(file))


def test_all_may_have_to_be_right(study_content: dict[str, object], tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump({**study_content, "learnt": 1}))
    assert read_study(str(file)).learnt == 1


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("tokeniser=elastic", r"tokeniser=elastic: the study sets tokeniser in its method b\. Remove it"),
        ("++optimiser.lr=3", r"the study sets optimiser\.lr in its tuning"),
        ("seed=3", r"the study sets seed in its seeds"),
        ("optimise=alignment/colour", r"the study sets optimise in its choose_by"),
    ],
)
def test_overrides_cannot_set_what_the_study_sets(study: Study, override: str, message: str) -> None:
    study.check_overrides(["outputs=here", "tokeniser.grid_size=2", "trainer.max_steps=3"])
    with pytest.raises(UserError, match=message):
        study.check_overrides([override])


def test_an_unknown_study_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UserError, match=r"unknown study.*tokenisers"):
        read_study("tokeniser")
