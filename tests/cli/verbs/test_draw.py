"""vtok draw on the command line."""

from pathlib import Path

import pytest
from matplotlib.image import imread

from vtok.cli.main import main

CLIPS = Path(__file__).resolve().parents[4] / "shared" / "clips"


@pytest.fixture
def video(tmp_path: Path, make_video) -> Path:
    """30 frames at 24 a second."""
    return make_video(tmp_path / "true.mp4")


@pytest.mark.parametrize("tokeniser", ["vtok", "resampler", "codec_motion"])
def test_it_draws_a_picture(tokeniser: str, video: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "tokens.png"
    assert main(["draw", f"video={video}", f"out={out}", f"tokeniser={tokeniser}"]) == 0
    assert capsys.readouterr().out == f"{out}\n"
    assert imread(out).shape[1] == 1800


def test_a_theme_is_the_colour_of_the_background(video: Path, tmp_path: Path) -> None:
    corners = []
    for theme in ("light", "dark"):
        assert main(["draw", f"video={video}", f"out={tmp_path / 'tokens.png'}", f"theme={theme}"]) == 0
        corners.append(imread(tmp_path / "tokens.png")[0, 0, 0])
    assert corners[0] == 1
    assert corners[1] < 0.2


@pytest.mark.skipif(not CLIPS.is_dir(), reason="no real clips here")
def test_a_real_clip(tmp_path: Path) -> None:
    out = tmp_path / "tokens.png"
    assert main(["draw", f"video={CLIPS / 'flower.mp4'}", f"out={out}", "clip.fps=6", "tokeniser=slow_fast"]) == 0
    assert imread(out).std() > 0.1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["video=nothing.mp4"], "video=nothing.mp4: there is no such file or folder"),
        (["theme=blue"], "theme"),
        (["out=tokens.txt"], ".png"),
        (["start=99"], "the last frame is at 1.21 s"),
    ],
)
def test_mistakes_are_one_line_and_write_nothing(arguments, message, video: Path, tmp_path: Path, capsys) -> None:
    given = {"video": f"video={video}", "out": f"out={tmp_path / 'tokens.png'}"}
    given |= {one.partition("=")[0]: one for one in arguments}
    assert main(["draw", *given.values()]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "tokens.png").exists()
