import base64
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from vtok.runs.comparison import Comparison, compare_runs
from vtok.runs.curves import read_curves, read_journal, thin_out
from vtok.runs.learning import read_learning
from vtok.runs.page import write_plot_page, write_report_page
from vtok.runs.pairs import compare_pairs
from vtok.runs.saved_run import read_run

EVIL = "<script>document.title = 'broken in'</script>\"' onerror=alert(1) </title>"


class ParsedPage(HTMLParser):
    """A parsed page: its elements with their attributes, and its texts."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def sources(self, tag: str) -> list[str]:
        return [str(attributes["src"]) for name, attributes in self.tags if name == tag]


def write_journal(folder: Path, metrics: dict[str, list[tuple[int, float]]]) -> None:
    lines = [[[name, value, 0, step]] for name, points in metrics.items() for step, value in points]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def plot_page(comparison: Comparison, path: Path, *, title: str) -> None:
    pairs, learning = compare_pairs(comparison, None), read_learning(comparison)
    write_plot_page(comparison, path, title=title, pairs=pairs, learning=learning, base=None)


@pytest.fixture
def runs(make_run, make_video) -> Comparison:
    """Two runs with curves, a sheet, and videos of one clip whose truth is the same."""
    folders = []
    for name, note in (("a", "plain"), ("b", EVIL)):
        folder: Path = make_run(
            name, {"note": note}, [f"note={note}"], {"alignment/colour": 0.5, "steps": 20, "commit": "c0ffee"}
        )
        write_journal(folder, {"train/loss": [(10, 2.0), (20, 1.0)], "alignment/colour": [(10, 0.4), (20, 0.5)]})
        Image.new("RGB", (40, 20), "red").save(folder / "held_out.png")
        samples = folder / "samples" / "last"
        samples.mkdir(parents=True)
        make_video(samples / "0_truth.mp4", 4)
        make_video(samples / "0_generated.mp4", 5 + len(folders))
        (samples / "captions.json").write_text(json.dumps([EVIL]))
        folders.append(folder)
    return compare_runs([read_run(folder) for folder in folders], [])


def test_html_in_configs_and_captions_is_escaped(runs: Comparison, tmp_path: Path) -> None:
    for page, write in (("plot.html", plot_page), ("report.html", report)):
        write(runs, tmp_path / page, title=EVIL)
        seen = ParsedPage(tmp_path / page)
        # Only the page's own scripts: the data of each chart, and one program at the end.
        scripts = [attributes.get("type") for tag, attributes in seen.tags if tag == "script"]
        assert scripts == ["application/json"] * (len(scripts) - 1) + [None]
        assert not [name for _, attributes in seen.tags for name in attributes if name.startswith("on")]
        assert EVIL in seen.texts
    assert f"Clip 0: {EVIL}" in seen.texts


def report(comparison: Comparison, path: Path, *, title: str) -> None:
    write_report_page(comparison, path, title=title, embed_mb=32)


def test_pages_load_nothing_from_the_network(runs: Comparison, tmp_path: Path) -> None:
    report(runs, tmp_path / "report.html", title="runs")
    plot_page(runs, tmp_path / "plot.html", title="runs")
    for page in ("plot.html", "report.html"):
        seen = ParsedPage(tmp_path / page)
        places = [value for _, attributes in seen.tags for key, value in attributes.items() if key in ("src", "href")]
        # Within an SVG, shapes refer to each other by "#".
        assert all(str(place).startswith(("data:", "#")) for place in places)
        assert not re.search(r"@import|url\((?!#)", (tmp_path / page).read_text())


def test_videos_and_sheets_are_embedded_unchanged(runs: Comparison, tmp_path: Path) -> None:
    report(runs, tmp_path / "report.html", title="runs")
    seen = ParsedPage(tmp_path / "report.html")
    samples = [run.path / "samples" / "last" for run in runs.runs]
    # The true video, which both runs share, once; then the video that each run generated.
    files = [samples[0] / "0_truth.mp4", samples[0] / "0_generated.mp4", samples[1] / "0_generated.mp4"]
    assert [base64.b64decode(source.partition(",")[2]) for source in seen.sources("video")] == [
        file.read_bytes() for file in files
    ]
    assert len(seen.sources("img")) == 2
    assert not (tmp_path / "report_files").exists()


def test_files_beyond_the_limit_are_copied_beside_the_page(runs: Comparison, tmp_path: Path) -> None:
    page = tmp_path / "my report.html"
    (tmp_path / "my report_files").mkdir()
    (tmp_path / "my report_files" / "9.mp4").write_text("of an older page")
    (tmp_path / "my report_files" / "notes.txt").write_text("somebody's")
    assert write_report_page(runs, page, title="runs", embed_mb=0) == 5
    seen = ParsedPage(page)
    assert seen.sources("video") == [f"my%20report_files/{n}.mp4" for n in range(3)]
    assert {file.name for file in (tmp_path / "my report_files").iterdir()} == {
        "0.mp4", "1.mp4", "2.mp4", "3.png", "4.png", "notes.txt",
    }  # fmt: skip
    truth = runs.runs[0].path / "samples" / "last" / "0_truth.mp4"
    assert (tmp_path / "my report_files" / "0.mp4").read_bytes() == truth.read_bytes()


def test_page_shows_results_commands_and_commits(runs: Comparison, tmp_path: Path) -> None:
    report(runs, tmp_path / "report.html", title="runs")
    text = " ".join(ParsedPage(tmp_path / "report.html").texts)
    assert "python train.py note=plain" in text
    assert "commit c0ffee" in text
    assert "0.500" in text


def charts(page: Path) -> list[dict[str, Any]]:
    found = re.findall(r'<script type="application/json">(.*?)</script>', page.read_text(), flags=re.DOTALL)
    return [json.loads(one) for one in found]


def test_marks_are_at_the_points_of_the_picture(make_run, tmp_path: Path) -> None:
    folders = [make_run(str(n), {"stride": n}, [f"stride={n}"], {"loss": float(n)}) for n in (3, 6)]
    plot_page(compare_runs([read_run(one) for one in folders], ["loss"]), tmp_path / "plot.html", title="x")
    (chart,) = charts(tmp_path / "plot.html")
    svg = (tmp_path / "plot.html").read_text()
    # matplotlib draws each marker of a line as a reference with a position.
    drawn = re.findall(r'<use xlink:href="#[^"]+" x="([\d.]+)" y="([\d.]+)" style="fill: var\(--mark\)', svg)
    assert len(drawn) >= 2
    for x, y, _ in chart["marks"]:
        assert any(abs(float(at) - x) < 0.05 and abs(float(up) - y) < 0.05 for at, up in drawn)
    assert [line[0] for line in chart["tooltips"][0]] == ["stride=3", "run 3", "stride=3", "loss  3.00"]


def test_the_tooltip_of_a_step_lists_all_runs(runs: Comparison, tmp_path: Path) -> None:
    report(runs, tmp_path / "report.html", title="runs")
    curves = charts(tmp_path / "report.html")[-1]
    assert [line[0] for line in curves["tooltips"][1]] == ["train/loss, step 20", "1  note=plain", f"1  note={EVIL}"]
    assert [line[1] for line in curves["tooltips"][1]] == [None, 0, 1]


def test_journal_of_a_run_that_was_killed_and_resumed(tmp_path: Path) -> None:
    write_journal(tmp_path, {"train/loss": [(10, 3.0), (20, 2.0), (30, 9.0), (20, 2.5), (30, float("nan")), (40, 1.0)]})
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('[["train/loss", 7')
    assert read_journal(tmp_path / "metrics.jsonl") == {"train/loss": {10: 3.0, 20: 2.5, 30: 9.0, 40: 1.0}}


def test_long_curves_are_thinned_and_say_so(make_run, tmp_path: Path) -> None:
    folder = make_run("a", {"seed": 0}, [], {"steps": 1000})
    write_journal(folder, {"train/loss": [(step, 1.0) for step in range(1000)]})
    comparison = compare_runs([read_run(folder)], [])
    curves = read_curves(comparison)
    assert curves.every == 3
    assert len(curves.metrics["train/loss"][0]) == 334
    assert list(thin_out({step: 0.0 for step in range(6)}, 4)) == [0, 4, 5]
    report(comparison, tmp_path / "report.html", title="one")
    assert "one point in 3 is drawn" in (tmp_path / "report.html").read_text()


def test_untracked_runs_have_no_curves_and_the_page_says_so(make_run, tmp_path: Path) -> None:
    report(
        compare_runs([read_run(make_run("alone", {"seed": 0}, [], {"steps": 1}))], []), tmp_path / "r.html", title="one"
    )
    assert "No curves for alone" in (tmp_path / "r.html").read_text()
    assert not charts(tmp_path / "r.html")


def test_clips_with_different_captions_are_different_clips(runs: Comparison, tmp_path: Path) -> None:
    (runs.runs[0].path / "samples" / "last" / "captions.json").write_text(json.dumps(["another"]))
    report(runs, tmp_path / "r.html", title="runs")
    texts = ParsedPage(tmp_path / "r.html").texts
    assert "Clip 0: another" in texts
    assert f"Clip 0: {EVIL}" in texts


def test_broken_runs_are_named(runs: Comparison, make_run, tmp_path: Path) -> None:
    failed = make_run("failed", {"note": "x"}, ["note=x"], None)
    comparison = compare_runs([*runs.runs, read_run(failed)], [])
    report(comparison, tmp_path / "r.html", title="runs")
    assert "failed, no metrics" in (tmp_path / "r.html").read_text()
    assert yaml.safe_load((failed / "overrides.yaml").read_text()) == ["note=x"]


def test_accuracies_over_the_steps_are_those_of_validation_clips(make_run) -> None:
    folder = make_run("a", {"seed": 0}, [], {"alignment/colour": 0.5})
    write_journal(folder, {"validation/alignment/colour": [(10, 0.4), (20, 0.6)], "alignment/colour": [(20, 0.5)]})
    assert read_curves(compare_runs([read_run(folder)], [])).metrics == {
        "validation/alignment/colour": {0: {10: 0.4, 20: 0.6}}
    }
