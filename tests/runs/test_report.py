import csv
from pathlib import Path

import pytest

from vtok.runs.report import report
from vtok.runs.saved_run import read_run


@pytest.fixture
def folders(answered_run) -> list[Path]:
    """Two runs with answers, which were evaluated twice during training; the second one is better."""
    found = []
    for stride, right in ((3, 5), (6, 38)):
        folder = answered_run(str(stride), {"stride": stride}, {"speed": [number < right for number in range(40)]})
        lines = [
            f'[["validation/alignment/speed", {value}, 0, {step}]]\n' for step, value in ((10, 0.2), (20, right / 40))
        ]
        (folder / "metrics.jsonl").write_text("".join(lines))
        found.append(folder)
    return found


def test_all_tables_are_printed_and_written(
    folders: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    report(folders, metrics=(), out=out, title="runs", baseline="3")
    printed = capsys.readouterr().out
    written = (out / "comparison.md").read_text()
    page = (out / "comparison.html").read_text()
    for text in (printed, written, page):
        assert "shown: stride=6 is " in text
        assert "+82.5 " in text
        assert "until a metric stays at 90 % or above on validation clips" in text.replace("\xa0", " ")
        assert "0 of 1" in text
        assert "1 of 1" in text
    with (out / "comparison_differences.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["group"], row["minus"], float(row["difference"])) == ("stride=6", "stride=3", 0.825)
    assert (out / "comparison_learning.png").is_file()
    assert f"written: {out}/comparison.csv, .md, .png, .html, comparison_differences.csv" in printed


def test_runs_without_answers_are_compared_as_before(
    folders: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in folders:
        (folder / "answers.parquet").unlink()
        (folder / "metrics.jsonl").unlink()
    assert read_run(folders[0]).right == {}
    report(folders, metrics=(), out=tmp_path / "out", title="runs")
    printed = capsys.readouterr().out
    assert "No differences question by question: the runs have no answers.parquet." in printed
    assert "differences in points" not in printed
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        f"comparison.{kind}" for kind in ("csv", "html", "md", "png")
    }
