"""Fixtures for tests of several folders: real and synthetic videos, small runs, no network."""

import json
import re
import shutil
import socket
import subprocess
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import av
import numpy as np
import pytest
import yaml


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fuzz", type=int, default=450, help="broken files that the tests named test_fuzz read, about")


class MakeVideo(Protocol):
    def __call__(
        self,
        path: Path,
        frames: np.ndarray | int = 30,
        codec: str = "libx264",
        fps: int = 24,
        *,
        pix_fmt: str = "yuv420p",
        options: Mapping[str, str] | None = None,
        times: Sequence[float] | None = None,
        muxer: Mapping[str, str] | None = None,
    ) -> Path: ...


@pytest.fixture(scope="session")
def clips_dir() -> Path:
    """Real clips of many codecs, beside the repository."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "clips"
    if not folder.is_dir():
        pytest.skip(f"no real clips in {folder}")
    return folder


@pytest.fixture(scope="session")
def faults_dir() -> Path:
    """Small inputs that caused bugs, one folder for each, beside the repository."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "faults"
    if not folder.is_dir():
        pytest.skip(f"no faulty inputs in {folder}")
    return folder


@pytest.fixture(scope="session")
def make_video() -> MakeVideo:
    """Write a video of given frames, uint8 (T, H, W, 3), or a number of moving ones; `times` (seconds): variable rate.

    `options` are the encoder's, `muxer` the container's; an encoder that FFmpeg was built without skips the test.
    """
    return _make_video


def moving_frames(count: int = 30, height: int = 48, width: int = 64, seed: int = 0) -> np.ndarray:
    """A bright square on a dark, blurred ground that moves right, uint8 (count, height, width, 3)."""
    rng = np.random.default_rng(seed)
    ground = rng.integers(0, 90, (height // 8, width // 8, 3), dtype=np.uint8)
    frames = np.broadcast_to(np.kron(ground, np.ones((8, 8, 1), np.uint8)), (count, height, width, 3)).copy()
    for number, frame in enumerate(frames):
        left = number * (width - 16) // max(1, count - 1)
        frame[16:32, left : left + 16] = (250, 40 + 5 * number % 200, 30)
    return frames


def _make_video(
    path: Path,
    frames: np.ndarray | int = 30,
    codec: str = "libx264",
    fps: int = 24,
    *,
    pix_fmt: str = "yuv420p",
    options: Mapping[str, str] | None = None,
    times: Sequence[float] | None = None,
    muxer: Mapping[str, str] | None = None,
) -> Path:
    try:
        av.Codec(codec, "w")
    except av.error.EncoderNotFoundError:
        pytest.skip(f"this FFmpeg has no encoder {codec}")
    pictures = moving_frames(frames) if isinstance(frames, int) else frames
    options = dict(options or {})
    if codec == "libx265" and len(pictures) < 3:
        # x265 that may place B-frames but sees one or two frames sometimes makes packets that no muxer accepts.
        options["x265-params"] = f"{options.get('x265-params', 'log-level=none')}:bframes=0"
    with av.open(str(path), "w", options=dict(muxer or {})) as container:
        stream = container.add_stream(codec, rate=fps, options=options)
        stream.height, stream.width, stream.pix_fmt = pictures.shape[1], pictures.shape[2], pix_fmt
        stream.thread_type, stream.codec_context.thread_count = "NONE", 1
        if times is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        for number, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            if times is not None:
                frame.pts, frame.time_base = round(times[number] * 1000), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


TINY_RUN = (
    "data.train_clips=12",
    "data.validation_clips=4",
    "data.test_clips=4",
    "clip.num_frames=12",
    "data.make_workers=1",
    "loader.num_workers=0",
    "loader.batch_size=4",
    "backbone.feature_dim=16",
    "backbone.width=8",
    "mllm.width=32",
    "mllm.layers=1",
    "mllm.heads=2",
    "evaluation.max_new_tokens=4",
    "trainer.max_steps=3",
    "trainer.progress=false",
    "tracking=none",
)


@pytest.fixture(scope="session")
def tiny_settings() -> list[str]:
    """The overrides of `tiny_run`, without outputs."""
    return list(TINY_RUN)


@pytest.fixture
def tiny_run(tmp_path: Path) -> list[str]:
    """Overrides of a run of about a second, which writes to the test's own folder."""
    return [*TINY_RUN, f"outputs={tmp_path / 'outputs'}"]


class Ended(NamedTuple):
    """The end of a command."""

    code: int
    out: str
    err: str


@pytest.fixture
def end_of(capsys: pytest.CaptureFixture[str]) -> Callable[[Callable[[], int]], Ended]:
    """Runs a program's main function in this process: starting Python and torch takes 4 s more."""

    def run(main: Callable[[], int]) -> Ended:
        capsys.readouterr()
        message = ""
        try:
            code = main()
        except SystemExit as end:
            # As Python does with what sys.exit is given.
            code, message = (end.code, "") if isinstance(end.code, int) else (int(bool(end.code)), str(end.code or ""))
        shown = capsys.readouterr()
        return Ended(code, shown.out, shown.err + message)

    return run


@pytest.fixture
def command(
    end_of: Callable[[Callable[[], int]], Ended], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., Ended]:
    """Runs `vtok ARGUMENTS` in this process, in the test's own folder."""
    from vtok.cli.main import main

    monkeypatch.chdir(tmp_path)
    return lambda *arguments: end_of(lambda: main(arguments))


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every network connection fails."""

    def refuse(*_args: object, **_options: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture(scope="session")
def new_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty MLflow database, made once for all tests that need one."""
    # SQLAlchemy and MLflow are only loaded for these tests.
    from vtok.tracking.store import open_store

    database = tmp_path_factory.mktemp("store") / "mlflow.db"
    open_store(f"sqlite:///{database}")
    return database


@pytest.fixture
def store_uri(new_database: Path, tmp_path: Path) -> str:
    """The address of an MLflow store for one test."""
    from vtok.tracking.store import database_file

    uri = f"sqlite:///{tmp_path}/mlflow.db"
    copy = database_file(uri)
    assert copy is not None
    shutil.copyfile(new_database, copy)
    return uri


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Path]:
    """Writes a run folder like that of a finished run; with `summary=None`, of a failed run."""

    def make(
        name: str,
        config: dict[str, Any],
        overrides: list[str],
        summary: dict[str, float | str] | None,
        mlflow_run_id: str | None = None,
    ) -> Path:
        folder = tmp_path / name
        folder.mkdir(parents=True)
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        (folder / "overrides.yaml").write_text(yaml.safe_dump(overrides))
        status = "failed" if summary is None else "finished"
        (folder / "status.json").write_text(json.dumps({"status": status, "mlflow_run_id": mlflow_run_id}))
        if summary is not None:
            (folder / "summary.json").write_text(json.dumps(summary))
        return folder

    return make


BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
BROWSER_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-component-update",
    "--disable-background-networking", "--disable-sync", "--enable-logging=stderr", "--v=0", "--window-size=1300,1000",
)  # fmt: skip


class Sight(NamedTuple):
    """`dom`: the page after its programs have run. `console`: what they wrote there, errors included."""

    dom: str
    console: list[str]


class Look(Protocol):
    def __call__(self, url: str, *, milliseconds: int = 3000) -> Sight: ...


@pytest.fixture
def look(tmp_path: Path) -> Look:
    """Opens a page in a browser for so many milliseconds of the page's own time; skips where there is no browser."""
    browser = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if browser is None:
        pytest.skip("no chromium to look with")

    def open_page(url: str, *, milliseconds: int = 3000) -> Sight:
        own = (f"--user-data-dir={tmp_path / 'profile'}", f"--virtual-time-budget={milliseconds}", "--dump-dom")
        done = subprocess.run(
            [browser, *BROWSER_FLAGS, *own, url], capture_output=True, text=True, timeout=180, check=True
        )
        return Sight(done.stdout, re.findall(r"CONSOLE[^\]]*\] (.*)", done.stderr))

    return open_page
