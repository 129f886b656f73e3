"""`python benchmarks/decode.py`: every reader reads the same frames; times are not tested."""

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from vtok.cli.main import run_script
from vtok.data import read_video


def test_a_table_and_a_json(decode: ModuleType, tmp_path: Path, make_video, capsys: pytest.CaptureFixture[str]) -> None:
    make_video(tmp_path / "clip.mp4")
    out = tmp_path / "figures.json"
    assert run_script(decode.decode, [f"video={tmp_path}", "runs=2", "size=40", f"out={out}"]) == 0
    head, row = capsys.readouterr().out.splitlines()
    assert head.split()[:4] == ["CPU", "time", "vtok,", "ms"]
    assert "naive" in head
    assert row.startswith("clip.mp4")
    figures = json.loads(out.read_text())
    assert figures["plan"] == {"stride": 6, "frames": 30, "size": 40, "runs": 2}
    clip = figures["clips"][str(tmp_path / "clip.mp4")]
    assert clip["vtok"]["ratio"] == 1
    assert clip["vtok"]["grey_levels_apart"] == 0
    assert clip["naive"]["ratio_min"] <= clip["naive"]["ratio"] <= clip["naive"]["ratio_max"]


def test_synthetic_clips_are_read_where_none_are_given(
    decode: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("synthetic_clips.SIZES", ((96, 64), (64, 64)))
    monkeypatch.setattr("synthetic_clips.SECONDS", 1)
    assert run_script(decode.decode, ["frames=2", "size=32", "runs=1"]) == 0
    rows = capsys.readouterr().out.splitlines()[1:]
    assert [row.split()[0] for row in rows] == ["synthetic_96x64.mp4", "synthetic_64x64.mp4"]


def test_every_reader_reads_the_same_frames(decode: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    sys.modules["synthetic_clips"].write_clip(path, width=96, height=64, frames=20)
    assert len(read_video(path, stride=1)[0]) == 20
    found, missing = decode.installed_readers()
    assert {*found, *missing} == {"vtok", "naive", "ffmpeg", "torchcodec", "decord"}
    for name, timing in decode.measure(path, found, stride=6, frames=3, size=48, runs=1).items():
        assert timing.error is None, (name, timing.error)
        assert timing.apart is not None, name
        assert timing.apart < 6, name  # a frame further on is 30 away


def test_a_reader_that_fails_is_reported(decode: ModuleType, make_video, tmp_path: Path) -> None:
    path = make_video(tmp_path / "clip.mp4")

    def wrong_shape(path, indices, scaled, size):
        return torch.zeros(1)

    def fails(path, indices, scaled, size):
        raise ValueError("no\nframes")

    found, _ = decode.installed_readers()
    readers = {"vtok": found["vtok"], "fails": fails, "shape": wrong_shape}
    timings = decode.measure(path, readers, stride=6, frames=2, size=8, runs=1)
    assert list(timings) == list(readers)
    assert timings["fails"].error == "ValueError: no"
    assert "clip.mp4: fails: ValueError: no" in decode.results_table({str(path): timings})
    assert timings["shape"].apart is None


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["runs=0"], "runs=0: must be an integer >= 1."),
        (["size=big"], "size=big: must be an integer >= 1."),
        (["video=no.mp4"], "video=no.mp4: there is no such file or folder."),
        (["video=[.]"], "video=.: the folder holds no video file"),
        (["strid=3"], "strid: unknown key of python benchmarks/decode.py. Did you mean stride?"),
        (["clip.mp4"], "clip.mp4: arguments are KEY=VALUE."),
        (["out=table.csv"], "table.csv: the file's name must end in .json."),
    ],
)
def test_a_mistake_is_one_sentence(
    decode: ModuleType, arguments: list[str], error: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert run_script(decode.decode, arguments) == 1
    assert capsys.readouterr().err.startswith(f"error: {error}")


def test_the_script_starts_from_any_folder(decode: ModuleType, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, decode.__file__, "--help"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("python benchmarks/decode.py [KEY=VALUE ...]\n")
    assert "size=336    (an integer >= 1)\n      side of the frames in pixels." in done.stdout
