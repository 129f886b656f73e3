"""The page of vtok demo: its functions, and what a browser shows of it."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any

import pytest

gr = pytest.importorskip("gradio", reason="gradio is not installed")

from vtok.cli.main import main  # noqa: E402
from vtok.demo.page import NO_CLIP, Page, build_page, unwrapped  # noqa: E402
from vtok.demo.session import DemoRun  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def run_dirs(tmp_path_factory: pytest.TempPathFactory, tiny_settings: list[str]) -> list[Path]:
    """Two runs on the same clips."""
    outputs = tmp_path_factory.mktemp("outputs")
    for name, tokeniser in (("one", "vtok"), ("two", "frame_sampling")):
        settings = [
            *tiny_settings,
            f"outputs={outputs}",
            f"tokeniser={tokeniser}",
            f"hydra.run.dir={outputs}/runs/{name}",
        ]
        assert main(["train", *settings]) == 0
    return [outputs / "runs" / name for name in ("one", "two")]


@pytest.fixture
def page(run_dirs: list[Path], tmp_path: Path) -> Page:
    lock = Lock()
    runs = [
        DemoRun.load(str(one), outputs="outputs", allowed_targets=(), folder=tmp_path, lock=lock) for one in run_dirs
    ]
    build_page(runs, runs[0].test_clips())
    return Page(runs, runs[0].test_clips())


def call(function: Any, *given: Any, number: int = 2) -> Any:
    return unwrapped(function, given, number)


def test_runs_answer_side_by_side(page: Page) -> None:
    clip = next(iter(page.clips))
    upload, shown, first, second, *_ = call(page.choose, clip, None)
    assert upload is None
    assert all(Path(path).stat().st_size > 1000 for path in (shown, first, second))
    answers, one, two, *_ = call(page.ask, clip, None, "what colour is it?", "red\nblue")
    assert {one, two} <= {"red", "blue"}
    assert [answer.text for answer in answers] == [one, two]
    whys = call(page.explain, clip, None, answers)
    assert len({Path(path).read_bytes() for path in whys}) == 2


def test_an_uploaded_video_replaces_the_chosen_clip(page: Page, make_video, tmp_path: Path) -> None:
    video = str(make_video(tmp_path / "own.mp4"))
    chosen, shown, *_ = call(page.take_upload, video)
    assert chosen is None
    assert Path(shown).stat().st_size > 1000
    assert call(page.describe, None, video)[1] == page.runs[0].answer(video, "describe the video.").text


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("ask", (None, None, "what?", ""), NO_CLIP),
        ("ask", (None, "x.mp4", " ", ""), "question: it is empty"),
        ("explain", (None, None, None), "Use Ask or Describe first"),
        ("generate", ("",), "sentence: it is empty"),
        ("take_upload", ("/tmp/gradio/secret/<b>.mp4",), r"^&lt;b&gt;\.mp4: "),
    ],
)
def test_mistakes_are_shown_in_plain_words(page: Page, name: str, given: tuple, message: str) -> None:
    with pytest.raises(gr.Error) as caught:
        call(getattr(page, name), *given)
    assert re.search(message, caught.value.message)


def test_a_bug_is_logged_and_not_shown(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(gr.Error, match=r"The request failed \(ZeroDivisionError\)\. Look at the terminal"):
        call(lambda: 1 / 0)
    assert "ZeroDivisionError: division by zero" in caplog.text


@pytest.mark.slow
def test_a_browser_chooses_a_clip_asks_and_shows_the_pictures(run_dirs: list[Path], browser, tmp_path: Path) -> None:
    with serving(run_dirs[0], tmp_path) as url:
        choose_a_clip(browser, url)
        browser.click("#choices textarea")
        browser.type("red\nblue")
        browser.click("#ask")
        assert browser.wait("document.querySelector('.answer textarea').value") in ("red", "blue")
        browser.click("#explain")
        browser.wait("document.querySelector('.why img')?.naturalWidth > 500")
        shown = browser.value("document.body.innerText")
        assert "Error" not in shown
        foreign = [one for one in browser.addresses if not one.startswith((url, "data:", "blob:"))]
        assert foreign == []
        # Nothing in the page itself is loaded from another host either.
        html = browser.value("document.documentElement.outerHTML")
        loaded = re.findall(
            r"<(?:script|link|img|iframe|video|source)\b[^>]*?\b(?:src|href)=[\"'](https?://[^\"']+)", html
        )
        assert [one for one in loaded if not one.startswith(url)] == []


@pytest.mark.slow
def test_a_browser_generates_and_reconstructs(joint_run: Path, browser, tmp_path: Path) -> None:
    with serving(joint_run, tmp_path) as url:
        choose_a_clip(browser, url)
        browser.click("#sentence textarea")
        browser.type("a red square moves left.")
        for name in ("generate", "reconstruct"):
            browser.click(f"#{name}")
            # Its length is known once the browser has decoded the video.
            seconds = browser.wait(f"document.querySelector('.{name} video')?.duration")
            assert 0 < seconds < 10
        assert "Error" not in browser.value("document.body.innerText")


@contextmanager
def serving(run_dir: Path, cwd: Path) -> Iterator[str]:
    """The address of `vtok demo` in a process of its own."""
    server = subprocess.Popen(
        [sys.executable, "-m", "vtok", "demo", f"run={run_dir}", "port=0", "open_browser=false"],
        cwd=cwd, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert server.stdout is not None
        url = server.stdout.readline().partition(" ")[0]
        assert url.startswith("http://127.0.0.1:")
        yield url
    finally:
        server.terminate()
        server.wait(30)


def choose_a_clip(browser: Any, url: str) -> None:
    browser.open(url)
    browser.wait("!!document.querySelector('#clip input')")
    # Until the page's own program listens, a click does nothing.
    for _ in range(30):
        browser.click("#clip input")
        time.sleep(1)
        if browser.value("!!document.querySelector('[role=option]')"):
            break
    browser.click("[role=option][aria-label^=test-000001]")
    browser.wait("document.querySelector('.tokens img')?.naturalWidth > 500")
