from pathlib import Path

import pytest

from vtok.common.errors import UserError
from vtok.common.nested import flatten
from vtok.runs.saved_run import find_runs, read_run


def test_flatten() -> None:
    assert flatten({"a": {"b": {"c": 1}, "d": [1, {"e": 2}]}, "f": {}}) == {
        "a.b.c": 1,
        "a.d": [1, {"e": 2}],
        "f": {},
    }


def test_run_folder_as_written(make_run) -> None:
    run = read_run(make_run("0", {"seed": 1}, ["seed=1"], {"steps": 10}, "abc"))
    assert run.config == {"seed": 1}
    assert run.overrides == ["seed=1"]
    assert run.summary == {"steps": 10}
    assert (run.status, run.mlflow_run_id) == ("finished", "abc")


def test_the_clip_of_a_run_is_listed_once(make_run) -> None:
    clip, other = {"num_frames": 12}, {"num_frames": 30}
    sources = {"one": {"root": "a", "clip": dict(clip)}, "two": {"root": "b", "clip": other}}
    run = read_run(make_run("0", {"clip": clip, "data": {"clip": dict(clip), "sources": sources}}, [], None))
    assert run.config["clip"] == clip
    assert run.config["data"] == {"sources": {"one": {"root": "a"}, "two": {"root": "b", "clip": other}}}


def test_a_run_that_was_killed_before_it_had_metrics(tmp_path: Path) -> None:
    (tmp_path / "3").mkdir()
    (tmp_path / "3" / "config.yaml").write_text("seed: 1\n")
    (tmp_path / "3" / "overrides.yaml").write_text("- seed=1\n")
    run = read_run(tmp_path / "3")
    assert (run.status, run.summary, run.overrides) == ("unfinished", {}, ["seed=1"])


def test_not_a_run_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not a run folder"):
        read_run(tmp_path)
    (tmp_path / "config.yaml").write_text("")
    with pytest.raises(UserError, match=r"config\.yaml is empty"):
        read_run(tmp_path)


def test_runs_are_found_in_natural_order_and_not_inside_each_other(make_run, tmp_path: Path) -> None:
    for name in ["sweep/10", "sweep/2", "sweep/lr=1/seed=0", "sweep/2/checkpoints/export", "sweep/.old/0"]:
        make_run(name, {}, [], None)
    names = [str(path.relative_to(tmp_path)) for path in find_runs(tmp_path / "sweep")]
    assert names == ["sweep/2", "sweep/10", "sweep/lr=1/seed=0"]
    assert find_runs(tmp_path / "absent") == []
