"""Runs with answers to questions about clips."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from vtok.evaluation.answers import Answer, write_answers
from vtok.runs.answered import ANSWERS


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
