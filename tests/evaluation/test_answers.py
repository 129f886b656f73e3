"""answers.parquet: what is written is read back, and a broken file is named."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from vtok.common.errors import UserError
from vtok.evaluation.answers import Answer, read_answers, write_answers
from vtok.runs.answered import ANSWERS

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


def test_a_file_without_a_column_or_with_one_of_another_type_is_refused(tmp_path: Path) -> None:
    write_answers([CHOICE], tmp_path / ANSWERS)
    table = pq.read_table(tmp_path / ANSWERS)
    pq.write_table(table.append_column("more", [[1]]), tmp_path / ANSWERS)
    assert read_answers(tmp_path / ANSWERS) == [CHOICE]
    pq.write_table(table.drop_columns(["group"]), tmp_path / ANSWERS)
    with pytest.raises(UserError, match=rf"has no column group\. Evaluate .* run={tmp_path} out={tmp_path}"):
        read_answers(tmp_path / ANSWERS)
    place = table.column_names.index("total")
    pq.write_table(table.set_column(place, "total", [[["many"]]]), tmp_path / "b.parquet")
    with pytest.raises(UserError, match=r"b\.parquet cannot be read"):
        read_answers(tmp_path / "b.parquet")
