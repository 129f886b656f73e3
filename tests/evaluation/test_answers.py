"""answers.parquet: what is written is read back, and a broken file is named."""

from pathlib import Path

import pytest

from vtok.common.errors import UserError
from vtok.evaluation.answers import ANSWERS, Answer, read_answers, write_answers

CHOICE = Answer(
    clip="test-000001",
    group="kitchen",
    source="",
    category="colour",
    kind="choice",
    question="what colour is the object?",
    choices=("red", "blue"),
    total=(-1.5, -0.25),
    token=(-0.75, -0.125),
    prior=(0.5, 0.1),
    answer="blue",
    truth="red",
    right=False,
    chance=0.5,
)
CAPTION = Answer(
    clip="test-000002",
    group="test-000002",
    source="easy",
    category="colour",
    kind="caption",
    question="describe the video.",
    choices=(),
    total=(),
    token=(),
    prior=(),
    answer="a red circle",
    truth="red",
    right=True,
    chance=0.0,
)


@pytest.mark.parametrize("answers", [[], [CHOICE, CAPTION]])
def test_answers_are_read_back_as_they_were_written(tmp_path: Path, answers: list[Answer]) -> None:
    write_answers(answers, tmp_path / ANSWERS)
    assert read_answers(tmp_path / ANSWERS) == answers


def test_a_missing_or_broken_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        read_answers(tmp_path / ANSWERS)
    (tmp_path / ANSWERS).write_bytes(b"PAR1 nothing")
    with pytest.raises(UserError, match=r"answers\.parquet cannot be read"):
        read_answers(tmp_path / ANSWERS)
