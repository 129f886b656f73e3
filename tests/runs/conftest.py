"""Runs with answers to questions about clips, and a study."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from vtok.evaluation.answers import Answer, write_answers
from vtok.runs.answered import ANSWERS
from vtok.runs.study import Study, read_study


@pytest.fixture
def answered_run(make_run: Callable[..., Path]) -> Callable[..., Path]:
    """Writes the folder of a run that has answered choice questions about clips of two to a group.

    `right` says for each category which answers are right, in the order of the clips.
    """

    def make(name: str, config: Mapping[str, Any], right: Mapping[str, Sequence[bool]], *, first_clip: int = 0) -> Path:
        summary: dict[str, float] = {}
        answers = []
        for category, each in right.items():
            share = sum(map(bool, each)) / len(each)
            summary |= {f"alignment/{category}{end}": share for end in ("", "_low", "_high")}
            for clip, one in enumerate(each, start=first_clip):
                answers.append(answer(category, clip, right=bool(one)))
        folder = make_run(name, dict(config), [], summary)
        write_answers(answers, folder / ANSWERS)
        return folder

    return make


def answer(category: str, clip: int, *, right: bool) -> Answer:
    return Answer(
        clip=f"clip-{clip}", group=f"scene-{clip // 2}", source="", category=category, kind="choice",
        question=f"Which {category}?", choices=("red", "blue"), total=(), token=(), prior=(),
        answer="red" if right else "blue", truth="red", right=right, chance=0.5,
    )  # fmt: skip


@pytest.fixture
def study_content() -> dict[str, object]:
    """The content of a study's file."""
    return {
        "question": "Which is better?",
        "methods": {"a": ["tokeniser=vtok"], "b": ["tokeniser=key_frame"]},
        "common": [],
        "baseline": "b",
        "tuning": {"optimiser.lr": [0.1, 0.2, 0.4], "tokeniser.stride": [3, 6]},
        "tuning_seeds": [8, 9],
        "choose_by": ["validation/alignment/colour", "validation/alignment/speed"],
        "seeds": [0, 1, 2],
        "metrics": ["alignment/colour"],
        "learnt": 0.9,
        "limits": ["Nothing else."],
    }


@pytest.fixture
def study(study_content: dict[str, object], tmp_path: Path) -> Study:
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(study_content))
    return read_study(str(file))
