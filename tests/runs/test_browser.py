"""The pages of a comparison, and MLflow's, in a real browser."""

import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from html import unescape
from pathlib import Path

import pytest
from PIL import Image

from vtok.runs.comparison import Comparison, compare_runs
from vtok.runs.learning import read_learning
from vtok.runs.mlflow_parent import read_parent
from vtok.runs.page import write_plot_page, write_report_page
from vtok.runs.pairs import compare_pairs
from vtok.runs.saved_run import find_runs, read_run
from vtok.tracking.store import compare_url

ROOT = Path(__file__).resolve().parents[2]
EVIL = "<script>document.body.dataset.broken = 'in'</script><img src=x onerror=\"document.body.dataset.broken = 'in'\">"
# Runs after the page's own scripts: moves the mouse to the first mark of each chart, then presses the arrow key.
POINT = """
const seen = [];
for (const chart of document.querySelectorAll(".chart")) {
  const { marks } = JSON.parse(chart.querySelector("script").textContent);
  const svg = chart.querySelector(".picture svg"), tip = chart.querySelector(".tip");
  const at = new DOMPoint(marks[0][0], marks[0][1]).matrixTransform(svg.getScreenCTM());
  const rings = () => svg.querySelectorAll(".ring").length;
  const state = () => [tip.hidden, [...tip.children].map((line) => line.textContent), rings()];
  const before = state();
  svg.dispatchEvent(new PointerEvent("pointermove", { clientX: at.x + 3, clientY: at.y + 2, bubbles: true }));
  const over = state(), box = tip.getBoundingClientRect();
  chart.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowRight" }));
  const next = state();
  svg.dispatchEvent(new PointerEvent("pointerleave"));
  seen.push({ before, over, next, after: state(), fits: box.left >= 0 && box.right <= innerWidth });
}
document.body.dataset.seen = JSON.stringify(seen);
"""
VIDEOS = """
setTimeout(() => {
  const videos = [...document.querySelectorAll("video")].map((one) => [one.readyState, one.videoWidth]);
  const pictures = [...document.querySelectorAll("img")].map((one) => one.naturalWidth);
  document.body.dataset.media = JSON.stringify({ videos, pictures });
}, 2500);
"""


@pytest.fixture
def comparison(make_run, make_video) -> Comparison:
    folders = []
    for stride, note in ((3, "plain"), (6, EVIL)):
        config = {"stride": stride, "note": note}
        folder: Path = make_run(
            str(stride), config, [f"{key}={value}" for key, value in config.items()],
            {"alignment/colour": 0.5, "tokens_per_clip": 10, "seconds_per_step": 0.25},
        )  # fmt: skip
        lines = [json.dumps([["train/loss", 9.0 - step, 0, step]]) for step in (1, 2, 3)]
        (folder / "metrics.jsonl").write_text("\n".join(lines) + "\n")
        Image.new("RGB", (40, 20), "red").save(folder / "held_out.png")
        (folder / "samples" / "last").mkdir(parents=True)
        for kind in ("truth", "generated"):
            make_video(folder / "samples" / "last" / f"0_{kind}.mp4", 6)
        (folder / "samples" / "last" / "captions.json").write_text(json.dumps([EVIL]))
        folders.append(folder)
    return compare_runs([read_run(folder) for folder in folders], [])


def copy_with_script(page: Path, program: str) -> str:
    """The address of a copy of a page with a script of the test at its end."""
    copy = page.with_name(f"watched-{page.name}")
    copy.write_text(page.read_text(encoding="utf-8") + f"<script>{program}</script>", encoding="utf-8")
    return copy.as_uri()


def noted(dom: str, name: str):
    found = re.search(f'data-{name}="([^"]*)"', dom)
    assert found, dom[-2000:]
    return json.loads(unescape(found[1]))


def test_plot_shows_a_tooltip_for_the_mark_under_the_mouse(comparison: Comparison, look, tmp_path: Path) -> None:
    write_plot_page(
        comparison,
        tmp_path / "plot.html",
        title=EVIL,
        pairs=compare_pairs(comparison, None),
        learning=read_learning(comparison),
        base=None,
    )
    sight = look(copy_with_script(tmp_path / "plot.html", POINT))
    assert sight.console == []
    assert "data-broken" not in sight.dom
    (chart,) = noted(sight.dom, "seen")
    assert chart["before"] == [True, [], 0]
    first = ["note=plain, stride=3", "run 3", "stride=3 note=plain"]
    metrics = ["alignment/colour  0.500", "tokens_per_clip  10", "seconds_per_step  0.250"]
    # A ring in each of the three panels.
    assert chart["over"] == [False, [*first, *metrics], 3]
    assert chart["next"][1][0] == f"note={EVIL}, stride=6"
    assert chart["after"][0] is True
    assert chart["after"][2] == 0
    assert chart["fits"]


@pytest.mark.parametrize("embed_mb", [32, 0])
def test_report_plays_its_videos(comparison: Comparison, look, tmp_path: Path, embed_mb: float) -> None:
    write_report_page(comparison, tmp_path / "report.html", title=EVIL, embed_mb=embed_mb)
    sight = look(copy_with_script(tmp_path / "report.html", POINT + VIDEOS), milliseconds=6000)
    assert sight.console == []
    assert "data-broken" not in sight.dom
    media = noted(sight.dom, "media")
    # The true video is shared. readyState 2 and more: a frame is shown.
    assert [state >= 2 and width == 64 for state, width in media["videos"]] == [True] * 3
    assert media["pictures"] == [40, 40]
    curves = noted(sight.dom, "seen")[1]
    assert curves["over"] == [False, ["train/loss, step 1", "8  note=plain, stride=3", f"8  note={EVIL}, stride=6"], 2]


@contextmanager
def served(store: Path) -> Iterator[str]:
    """The address of an MLflow server on a free port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", f"sqlite:///{store}", "--host", "127.0.0.1",
         "--port", str(port), "--workers", "1"],
        cwd=store.parent, env=os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true"}, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(120):
            assert server.poll() is None, "the MLflow server ended"
            try:
                urllib.request.urlopen(f"{url}/health", timeout=5).close()
                break
            except (urllib.error.URLError, TimeoutError):
                time.sleep(1)
        yield url
    finally:
        os.killpg(server.pid, 15)
        server.wait(30)


@pytest.mark.slow
def test_mlflow_compares_the_runs_of_a_sweep(tiny_settings: list[str], look, tmp_path: Path) -> None:
    settings = [*(item for item in tiny_settings if item != "tracking=none"), "tracking.system_metrics=false"]
    done = subprocess.run(
        [sys.executable, str(ROOT / "train.py"), "-m", "tokeniser.stride=3,6", *settings],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (sweep,) = (tmp_path / "outputs" / "sweeps").iterdir()
    parent = read_parent(sweep)
    assert parent is not None
    runs = [str(read_run(folder).mlflow_run_id) for folder in find_runs(sweep)]
    with served(tmp_path / "outputs" / "mlflow.db") as url:
        dom = look(compare_url(url, [parent.experiment_id], runs), milliseconds=30_000).dom
        # MLflow renders values of metrics when they are scrolled to, and those of parameters at once, one for each run.
        text = re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]*>", " ", dom)))
        assert "Comparing 2 Runs" in text
        assert "tokeniser.stride 3 6 " in text
        assert "alignment/colour_high" in text
        assert all(run in dom for run in runs)
        kept = urllib.request.urlopen(
            f"{url}/get-artifact?run_uuid={parent.run_id}&path=comparison%2Fcomparison.html", timeout=30
        ).read()
    assert kept == (sweep / "comparison" / "comparison.html").read_bytes()
