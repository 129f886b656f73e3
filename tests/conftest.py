"""Fixtures for tests of several folders: videos, real ones where they are and made ones, small runs, no network."""

import socket
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Protocol

import av
import numpy as np
import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fuzz", type=int, default=300, help="broken files that the tests named test_fuzz read, about")


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
    """Small inputs that once came out wrong, one folder a fault, beside the repository."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "faults"
    if not folder.is_dir():
        pytest.skip(f"no faulty inputs in {folder}")
    return folder


@pytest.fixture(scope="session")
def make_video() -> MakeVideo:
    """Write a video of frames, uint8 (T, H, W, 3), or of so many moving ones; `times` (seconds) for variable rates.

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
    with av.open(str(path), "w", options=dict(muxer or {})) as container:
        stream = container.add_stream(codec, rate=fps, options=dict(options or {}))
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
    "data.heldout_clips=4",
    "data.num_frames=12",
    "data.make_workers=1",
    "data.num_workers=0",
    "data.batch_size=4",
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
    """`tiny_run` without a place for its files."""
    return list(TINY_RUN)


@pytest.fixture
def tiny_run(tmp_path: Path) -> list[str]:
    """Overrides of a run that takes about a second, all of its files below the test's own folder."""
    return [*TINY_RUN, f"outputs={tmp_path / 'outputs'}"]


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names are not resolved and nothing is connected to."""

    def refuse(*_args: object, **_options: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
