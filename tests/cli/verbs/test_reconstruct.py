"""vtok reconstruct on the command line."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vtok.cli.main import main
from vtok.data import read_video
from vtok.data.clip_reader import scaled


@pytest.fixture
def video(tmp_path: Path, make_video) -> Path:
    """30 frames at 24 a second."""
    return make_video(tmp_path / "true.mp4")


def reconstruct(run_dir: Path, *arguments: str) -> int:
    return main(["reconstruct", f"run={run_dir}", *arguments])


def test_a_video_comes_back_with_a_sheet(
    joint_run: Path, video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "back.mp4"
    assert reconstruct(joint_run, f"video={video}", f"out={out}") == 0
    assert capsys.readouterr().out.splitlines() == [str(out), str(tmp_path / "back.png")]
    read, times = read_video(out, stride=1)
    assert read.shape == (4, 3, 256, 256)
    # 12 of the file's frames at 24 a second, in 4 frames.
    torch.testing.assert_close(times, torch.arange(4, dtype=torch.float64) * 12 / 24 / 4, atol=1e-4, rtol=0)
    truth = scaled(read_video(video, indices=[0, 4, 7, 11], size=64)[0], 16)
    with Image.open(tmp_path / "back.png") as sheet:
        pixels = np.asarray(sheet.convert("RGB"))
    # The true frames above: 16 x 16 pixels, each 6 x 6, side by side.
    strip = np.stack([pixels[31 : 31 + 96 : 6, left + 3 : left + 96 : 6] for left in range(28, 28 + 4 * 100, 100)])
    np.testing.assert_array_equal(strip.transpose(0, 3, 1, 2), truth.numpy())


def test_it_depends_on_the_clip_the_caption_and_the_seed(joint_run: Path, video: Path, tmp_path: Path) -> None:
    out, files = tmp_path / "back.mp4", []
    for settings in ([], [], ["seed=1"], ["caption=a dog"], ["start=0.5"], ["guidance=2"], ["steps=2"]):
        assert reconstruct(joint_run, f"video={video}", f"out={out}", "scale=2", *settings) == 0
        files.append(out.read_bytes())
    assert files[0] == files[1]
    assert len(set(files)) == 6


def test_one_frame_and_a_folder_of_frames(joint_run: Path, tmp_path: Path) -> None:
    (tmp_path / "frames").mkdir()
    Image.new("RGB", (40, 30), "red").save(tmp_path / "frames" / "0.png")
    assert reconstruct(joint_run, f"video={tmp_path / 'frames'}", f"out={tmp_path / 'a.mp4'}") == 0
    assert len(read_video(tmp_path / "a.mp4", stride=1)[0]) == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Set video=VALUE"),
        (["video=absent.mp4"], "absent.mp4: there is no such file"),
        (["video=true.mp4", "start=9"], "no frame lies in the clip"),
        (["video=true.mp4", "start=-1"], "start=-1: must be a number >= 0"),
        (["video=true.mp4", "out=./true.mp4"], "this is the input video"),
        (["video=true.mp4", "out=back"], "must end in .mp4"),
        (["video=true.mp4", "out="], "must end in .mp4"),
        (["video=true.mp4", "steps=0"], "steps=0"),
        (["video=true.mp4", "seed=a"], "seed=a: must be an integer"),
        (["video=true.mp4", "temperature=0"], "unknown key of vtok reconstruct"),
    ],
)
def test_a_mistake_is_reported_in_one_line_and_nothing_is_written(
    joint_run: Path,
    video: Path,
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert reconstruct(joint_run, *arguments) == 1
    shown = capsys.readouterr()
    assert message in shown.err
    assert len(shown.err.splitlines()) == 1
    assert [file.name for file in tmp_path.iterdir()] == ["true.mp4"]


def test_a_run_without_a_decoder_is_refused_with_one_that_has_it(
    understanding_run: Path, video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert reconstruct(understanding_run, f"video={video}", f"out={tmp_path / 'a.mp4'}") == 1
    assert "recipe=generate" in capsys.readouterr().err


def test_a_run_that_only_decodes_will_do(make_run, video: Path, tmp_path: Path) -> None:
    run_dir = make_run("objective=generation", "objective.lambda_visLM=0", "visual_head=none")
    assert reconstruct(run_dir, f"video={video}", f"out={tmp_path / 'a.mp4'}", "scale=1") == 0
    assert (tmp_path / "a.mp4").exists()
