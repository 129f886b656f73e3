"""experiments/questions: the questions about the developer clips."""

import json
from pathlib import Path

import pytest

from vtok.common.paths import experiments_dir
from vtok.data import ClipSettings, FolderData

FILE = experiments_dir() / "questions" / "real_clips.jsonl"
ROWS = [json.loads(line) for line in FILE.read_text(encoding="utf-8").splitlines()]
# With clip.fps=4 the default 30 frames cover every range.
SECONDS = 30 / 4


@pytest.mark.parametrize("row", ROWS, ids=[f"{row['video']}@{row.get('start', 0)}" for row in ROWS])
def test_each_answer_is_among_its_choices(row: dict) -> None:
    assert row["split"] == "test"
    assert 2 <= len(row["questions"]) <= 4
    assert row.get("end", 0) - row.get("start", 0) <= SECONDS
    for question in row["questions"]:
        assert question["choices"].count(question["answer"]) == 1
        assert 2 <= len(set(question["choices"])) == len(question["choices"])


def test_the_first_choice_is_mostly_wrong() -> None:
    """A model that finds all choices equally likely chooses the first."""
    first = [one["choices"][0] == one["answer"] for row in ROWS for one in row["questions"]]
    assert sum(first) < len(first) / 2


def test_each_video_is_there_and_every_question_is_read(clips_dir: Path) -> None:
    source = FolderData(root=clips_dir, manifest=FILE, clip=ClipSettings(size=16))
    source.prepare()
    clips = source.clips("test")
    assert not source.bad
    assert not source.clips("train")
    assert all(clip.path.exists() for clip in clips)
    assert sum(len(clip.questions) for clip in clips) == sum(len(row["questions"]) for row in ROWS)
