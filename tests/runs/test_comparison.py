import csv
from pathlib import Path

import pytest

from vtok.common.errors import UserError
from vtok.runs.comparison import MISSING, compare_runs, differing_settings, show_number
from vtok.runs.saved_run import read_run

VTOK = {"_target_": "vtok.tokeniser.VTokTokeniser", "stride": 6, "motion": "mean"}
KEY_FRAME = {"_target_": "vtok.tokeniser.KeyFrameTokeniser", "grid_size": 4}


def test_a_swept_key_is_shown_once_although_others_equal_it(make_run, tmp_path: Path) -> None:
    runs = [
        read_run(
            make_run(
                str(number),
                {
                    "alias": stride,
                    "tokeniser": VTOK | {"stride": stride},
                    "out": str(tmp_path / str(number) / "x"),
                },
                [f"tokeniser.stride={stride}"],
                {"steps": 1},
            )
        )
        for number, stride in enumerate([3, 6, 10])
    ]
    assert differing_settings(runs) == {"tokeniser.stride": [3, 6, 10]}


def test_a_chosen_component_is_one_setting(make_run) -> None:
    runs = [
        read_run(make_run("a", {"tokeniser": VTOK}, [], {"steps": 1})),
        read_run(make_run("b", {"tokeniser": KEY_FRAME}, ["tokeniser=key_frame"], {"steps": 1})),
        read_run(make_run("c", {"tokeniser": VTOK | {"stride": 3}}, ["tokeniser.stride=3"], {"steps": 1})),
    ]
    assert differing_settings(runs) == {
        "tokeniser": ["VTokTokeniser", "key_frame", "VTokTokeniser"],
        "tokeniser.stride": [6, MISSING, 3],
    }


def test_components_within_a_chosen_component_are_compared(make_run) -> None:
    """A control that differs from a method in a nested option is not taken for more seeds of it."""
    mean, frame = (
        {"_target_": f"vtok.tokeniser.{name}Pooling", "size": size} for name, size in (("Mean", 1), ("Frame", 2))
    )
    configs = [
        ("a", VTOK | {"motion": mean}, ["tokeniser=vtok"]),
        ("b", VTOK | {"motion": frame}, ["tokeniser=vtok", "tokeniser/motion=frame"]),
        ("c", KEY_FRAME, ["tokeniser=key_frame"]),
    ]
    runs = [read_run(make_run(name, {"tokeniser": node}, given, {"steps": 1})) for name, node, given in configs]
    assert differing_settings(runs) == {
        "tokeniser": ["vtok", "vtok", "key_frame"],
        "tokeniser/motion": ["MeanPooling", "frame", MISSING],
    }


def test_runs_of_one_component_that_differ_in_a_key_are_not_taken_for_seeds(make_run) -> None:
    """Although no override names the key: a default may have changed between two versions."""
    runs = [
        read_run(make_run("a", {"tokeniser": VTOK}, ["tokeniser=vtok"], {"steps": 1})),
        read_run(make_run("b", {"tokeniser": VTOK | {"stride": 3}}, ["tokeniser=vtok"], {"steps": 1})),
        read_run(make_run("c", {"tokeniser": KEY_FRAME}, ["tokeniser=key_frame"], {"steps": 1})),
    ]
    assert differing_settings(runs) == {
        "tokeniser": ["vtok", "vtok", "key_frame"],
        "tokeniser.stride": [6, 3, MISSING],
    }


def test_the_default_component_is_the_same_with_and_without_an_override(make_run) -> None:
    runs = [
        read_run(make_run("a", {"tokeniser": VTOK}, [], {"steps": 1})),
        read_run(make_run("b", {"tokeniser": VTOK}, ["tokeniser=vtok"], {"steps": 1})),
        read_run(make_run("c", {"tokeniser": KEY_FRAME}, ["tokeniser=key_frame"], {"steps": 1})),
    ]
    assert differing_settings(runs[:2]) == {}
    assert differing_settings(runs) == {"tokeniser": ["vtok", "vtok", "key_frame"]}


def test_runs_on_other_questions_are_compared_by_them(make_run) -> None:
    names = ("arrow", "arrow_low", "arrow_questions", "order", "order_questions")
    summary = {f"alignment/{name}": 0.5 for name in names} | {"alignment_yes_no/arrow": 0.5, "tokens_per_clip": 20}
    runs = [read_run(make_run("a", {"seed": 0}, [], summary))]
    assert compare_runs(runs, []).metrics == ["alignment/arrow", "alignment/order", "tokens_per_clip"]


def test_runs_on_clips_with_captions_alone_are_compared_by_them(make_run) -> None:
    summaries = [{"alignment/caption": share, "alignment/caption_chance": 0.25, "steps": 1} for share in (0.5, 0.75)]
    runs = [read_run(make_run(str(n), {"seed": n}, [f"seed={n}"], one)) for n, one in enumerate(summaries)]
    assert compare_runs(runs, []).metrics == ["alignment/caption"]


def test_a_differing_key_without_an_override(make_run) -> None:
    runs = [read_run(make_run(str(n), {"model": {"width": n}}, [], {"steps": 1})) for n in (64, 96)]
    assert differing_settings(runs) == {"model.width": [64, 96]}


def test_runs_of_several_sweeps_have_different_names(make_run) -> None:
    folders = ("seeds/vtok/seed_0", "seeds/vtok/seed_1", "seeds/delta/seed_0")
    runs = [read_run(make_run(folder, {"seed": 0}, [], {"steps": 1})) for folder in folders]
    assert compare_runs(runs, []).names == ["vtok/seed_0", "vtok/seed_1", "delta/seed_0"]
    assert compare_runs(runs[:2], []).names == ["seed_0", "seed_1"]
    assert compare_runs([runs[0], runs[0]], []).names == ["seed_0", "seed_0"]


def test_table(make_run, tmp_path: Path) -> None:
    interval = {"alignment/colour": 0.8, "alignment/colour_low": 0.75, "alignment/colour_high": 0.8456}
    runs = [
        read_run(make_run("0", {"lr": 0.001}, ["lr=0.001"], interval | {"parameters/trained": 1234567}, "abc")),
        read_run(make_run("1", {"lr": 1e-5}, ["lr=1e-5"], {"alignment/colour": 1 / 3})),
        read_run(make_run("2", {"lr": 1.0}, ["lr=1"], None)),
    ]
    comparison = compare_runs(runs, [])
    assert comparison.text().splitlines() == [
        "run     lr      alignment/colour  parameters/trained",
        "0    0.001  0.800 [0.750, 0.846]           1,234,567",
        "1    1e-05                 0.333                   -",
        f"failed, no metrics: {tmp_path}/2 (lr=1)",
    ]
    assert comparison.label(1) == "lr=1e-05"
    assert "| 0 | 0.001 | 0.800 [0.750, 0.846] | 1,234,567 |" in comparison.markdown()
    assert f"- failed, no metrics: {tmp_path}/2 (lr=1)" in comparison.markdown()

    comparison.write_csv(tmp_path / "table.csv")
    with (tmp_path / "table.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[0]["alignment/colour_high"] == "0.8456"
    assert rows[0]["mlflow_run_id"] == "abc"
    assert float(rows[1]["alignment/colour"]) == 1 / 3
    assert rows[1]["parameters/trained"] == ""


def test_an_unknown_metric_is_refused_with_similar_ones(make_run) -> None:
    runs = [read_run(make_run("0", {"seed": 0}, [], {"alignment/colour": 0.8, "steps": 3}))]
    with pytest.raises(UserError, match=r"^metrics=alignment/color: no run has this metric\. Use alignment/colour\.$"):
        compare_runs(runs, ["alignment/color"])


def test_runs_without_metrics_are_refused(make_run) -> None:
    with pytest.raises(UserError, match=r"None of the 1 runs has a summary\.json"):
        compare_runs([read_run(make_run("0", {"seed": 0}, [], None))], [])


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.5, "0.500"),
        (1.0, "1.000"),
        (0.0, "0.000"),
        (0.00012, "1.20e-04"),
        (12.346, "12.35"),
        (54321.9, "54,322"),
        (1234567, "1,234,567"),
        (-3, "-3"),
        ("cpu", "cpu"),
    ],
)
def test_show_number(value: float | str, shown: str) -> None:
    assert show_number(value) == shown
