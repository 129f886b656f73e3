"""`vtok benchmark decode` reads the same frames by every way; what it measures is not tested."""

import json
from pathlib import Path

import pytest
import torch

from vtok.benchmark.clips import write_clip
from vtok.benchmark.decode import measure
from vtok.benchmark.peers import methods
from vtok.cli.main import main
from vtok.data import read_video


def test_a_table_and_a_json(tmp_path: Path, make_video, capsys: pytest.CaptureFixture[str]) -> None:
    make_video(tmp_path / "clip.mp4")
    out = tmp_path / "figures.json"
    assert main(["benchmark", "decode", f"video={tmp_path}", "runs=2", "size=40", f"out={out}"]) == 0
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


def test_every_way_reads_the_same_frames(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    write_clip(path, width=96, height=64, frames=20)
    assert len(read_video(path, stride=1)[0]) == 20
    found, missing = methods()
    assert {*found, *missing} == {"vtok", "naive", "ffmpeg", "torchcodec", "decord"}
    for name, timing in measure(path, found, stride=6, frames=3, size=48, runs=1).items():
        assert timing.error is None, (name, timing.error)
        assert timing.apart is not None, name
        assert timing.apart < 6, name  # a frame further on is 30 away


def test_a_way_that_fails_is_told(make_video, tmp_path: Path) -> None:
    path = make_video(tmp_path / "clip.mp4")

    def wrong_shape(path, indices, scaled, size):
        return torch.zeros(1)

    def fails(path, indices, scaled, size):
        raise ValueError("no\nframes")

    found, _ = methods()
    timings = measure(
        path, {"vtok": found["vtok"], "shape": wrong_shape, "fails": fails}, stride=6, frames=2, size=8, runs=1
    )
    assert timings["fails"].error == "ValueError: no"
    assert timings["shape"].apart is None
