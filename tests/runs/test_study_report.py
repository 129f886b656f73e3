"""The page of a study."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from vtok.runs.saved_run import read_run
from vtok.runs.study import Study
from vtok.runs.study_report import study_result, write_study
from vtok.runs.study_runs import Choice


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
