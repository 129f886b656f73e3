from pathlib import Path

import av
import numpy as np
import pytest
import torch

from vtok.common.errors import UserError
from vtok.data import read_video
from vtok.data.video.write import write_video


def pictures(count: int = 6, height: int = 8, width: int = 8) -> torch.Tensor:
    """Frames of smooth colours, of which h264 keeps nearly all."""
    time, down, across = torch.meshgrid(
        torch.linspace(0, 1, count), torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij"
    )
    return (255 * torch.stack([across, down, time], dim=1)).to(torch.uint8)


@pytest.mark.parametrize("fps", [15, 4.0, 29.97, 30000 / 1001])
def test_a_file_holds_the_frames_at_their_rate(tmp_path: Path, fps: float) -> None:
    frames = pictures()
    write_video(tmp_path / "a.mp4", frames, fps=fps, scale=8)
    read, times = read_video(tmp_path / "a.mp4", stride=1)
    assert read.shape == (6, 3, 64, 64)
    np.testing.assert_allclose(times.numpy(), np.arange(6) / fps, atol=1e-4)
    # The middle of the 8 x 8 pixels that each pixel became.
    errors = (read[:, :, 4::8, 4::8].int() - frames.int()).abs()
    assert errors.float().mean() < 2
    assert errors.max() < 12
    with av.open(str(tmp_path / "a.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert float(stream.average_rate) == pytest.approx(fps)


def test_a_pixel_becomes_a_square_of_one_colour(tmp_path: Path) -> None:
    board = torch.zeros(1, 3, 2, 2, dtype=torch.uint8)
    board[:, :, 0, 1] = board[:, :, 1, 0] = 255
    write_video(tmp_path / "a.mp4", board, fps=1, scale=32)
    read, _ = read_video(tmp_path / "a.mp4", stride=1)
    wanted = board.repeat_interleave(32, dim=2).repeat_interleave(32, dim=3)
    assert (read.int() - wanted.int()).abs().max() < 30


def test_odd_sides_get_their_last_row_and_column_twice(tmp_path: Path) -> None:
    frames = pictures(height=31, width=45)
    write_video(tmp_path / "a.mp4", frames, fps=10)
    read, _ = read_video(tmp_path / "a.mp4", stride=1)
    assert read.shape == (6, 3, 32, 46)
    wanted = torch.nn.functional.pad(frames.float(), (0, 1, 0, 1), mode="replicate")
    assert (read.float() - wanted).abs().mean() < 4
    assert (read[..., 31, :].float() - wanted[..., 31, :]).abs().mean() < 6


def test_the_same_frames_are_the_same_file(tmp_path: Path) -> None:
    frames = torch.randint(0, 256, (10, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    written = set()
    for given in (frames, frames, frames.numpy(), frames.transpose(2, 3).contiguous().transpose(2, 3)):
        write_video(tmp_path / "a.mp4", given, fps=8, scale=2)
        written.add((tmp_path / "a.mp4").read_bytes())
    assert len(written) == 1
    write_video(tmp_path / "a.mp4", frames.flip(0), fps=8, scale=2)
    assert (tmp_path / "a.mp4").read_bytes() not in written


@pytest.mark.parametrize(
    ("name", "settings", "expected"),
    [
        ("a.avi", {}, r"a\.avi: the file's name must end in \.mp4"),
        ("a", {}, r"must end in \.mp4"),
        ("folder.mp4", {}, "this is a folder"),
        ("absent/a.mp4", {}, "the folder .*absent does not exist"),
        ("file/a.mp4", {}, "the folder .*file does not exist"),
        ("x" * 300 + ".mp4", {}, "cannot be written"),
        ("a.mp4", {"scale": 0}, "scale=0: h264 supports 16384 pixels a side. Use 1 to 2048"),
        ("a.mp4", {"scale": 5000}, "scale=5000"),
        ("a.mp4", {"fps": 0.0}, "fps=0"),
        ("a.mp4", {"fps": float("nan")}, "fps=nan"),
        ("a.mp4", {"fps": 1e9}, r"fps=1e\+09: this rate is not supported. Use 0.01 to 1000"),
    ],
)
def test_unwritable_files_are_refused(tmp_path: Path, name: str, settings: dict[str, float], expected: str) -> None:
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "file").touch()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match=expected) as error:
        write_video(tmp_path / name, pictures(), **({"fps": 10.0} | settings))
    assert len(str(error.value).splitlines()) == 1
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="Linux has it")
def test_an_unwritable_folder_is_refused() -> None:
    # root may write almost anywhere, so that a mode would not do.
    with pytest.raises(UserError, match=r"it cannot be written, because no folder can be created in /proc \("):
        write_video(Path("/proc/a.mp4"), pictures(), fps=10)


def test_errors_of_ffmpeg_are_reported_and_leave_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.mp4").write_text("old")

    def fail(*_: object, **__: object) -> None:
        raise av.error.InvalidDataError(1, "bad")

    monkeypatch.setattr(av, "open", fail)
    with pytest.raises(UserError, match=r"a\.mp4: it cannot be written \(bad\)"):
        write_video(tmp_path / "a.mp4", pictures(), fps=10)
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("a.mp4", "old")]


@pytest.mark.parametrize("frames", [torch.zeros(2, 8, 8, 3, dtype=torch.uint8), torch.zeros(2, 3, 8, 8), pictures(0)])
def test_frames_of_another_kind_are_a_bug(tmp_path: Path, frames: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="uint8"):
        write_video(tmp_path / "a.mp4", frames, fps=10)
