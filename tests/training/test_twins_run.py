"""Runs on twins of videos without captions."""

from pathlib import Path

import pytest

from vtok.common.errors import UserError
from vtok.config import compose
from vtok.training import train

SHAPES = ("data.train", "data.validation", "data.test", "data.make")


@pytest.fixture
def bare(tiny_run: list[str], make_video, tmp_path: Path) -> list[str]:
    """Overrides of a small run, without a data set, beside a folder of videos without captions."""
    (tmp_path / "clips").mkdir()
    for number in range(4):
        make_video(tmp_path / "clips" / f"{number}.mp4", 12)
    return [item for item in tiny_run if not item.startswith(SHAPES)]


def test_a_run_asks_about_videos_without_captions(bare: list[str], tmp_path: Path) -> None:
    given = [*bare, "data=twins", f"data.source.root={tmp_path / 'clips'}", "data.categories=[arrow,odd]"]
    given += ["tokeniser.stride=4"]
    metrics = train(compose(given), run_dir=tmp_path / "run")
    assert metrics["alignment/arrow_chance"] == metrics["alignment/arrow_majority"] == 0.5
    assert metrics["alignment/odd_chance"] == metrics["alignment/odd_majority"] == pytest.approx(1 / 3)


def test_without_twins_they_have_nothing_to_train_on(bare: list[str], tmp_path: Path) -> None:
    given = [*bare, "data=videos", f"data.root={tmp_path / 'clips'}"]
    with pytest.raises(UserError, match="No training clip has a caption or a question"):
        train(compose(given), run_dir=tmp_path / "run")
